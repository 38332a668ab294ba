package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/inside"
)

// peer calls one process of the balancer.
type peer struct {
	client *http.Client

	giving sync.Mutex      // one table at a time
	given  *api.RouteTable // the last that the process took; nil when that is not known
	id     string          // of given
}

// refusal is an answer that is not the one asked for.
type refusal struct{ status, text string }

func (r refusal) Error() string { return fmt.Sprintf("balancer answers %s: %s", r.status, r.text) }

func newPeer(socket string) *peer {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 4,
	}
	return &peer{client: &http.Client{Transport: t}}
}

// gone tells whether a call failed because nobody listens at the socket any more.
func gone(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist)
}

func (p *peer) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	var r io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://balancer"+path+"?"+query.Encode(), r)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return refusal{resp.Status, strings.TrimSpace(string(b))}
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// status gives the process's status at once, or, with the number of the last one seen, when it is newer.
func (p *peer) status(ctx context.Context, seen *uint64) (st Status, err error) {
	q := url.Values{}
	if seen != nil {
		q.Set("seen", strconv.FormatUint(*seen, 10))
	}
	err = p.call(ctx, http.MethodGet, "/status", q, nil, &st)
	return st, err
}

// table gives the process a table: what is new in it, or all of it if the process does not have the one before.
func (p *peer) table(ctx context.Context, t *api.RouteTable) (st Status, err error) {
	p.giving.Lock()
	defer p.giving.Unlock()
	id := rand.Text()
	if before := p.given; before != nil {
		p.given = nil
		err = p.call(ctx, http.MethodPatch, "/table", url.Values{"base": {p.id}, "id": {id}}, changeOf(before, t), &st)
		if _, refused := errors.AsType[refusal](err); !refused {
			return p.took(t, id, st, err)
		}
	}
	err = p.call(ctx, http.MethodPut, "/table", url.Values{"id": {id}}, t, &st)
	return p.took(t, id, st, err)
}

// took notes a table that the process has taken.
func (p *peer) took(t *api.RouteTable, id string, st Status, err error) (Status, error) {
	if err == nil {
		p.given, p.id = t, id
	}
	return st, err
}

func (p *peer) bridge(ctx context.Context, b *inside.Bridge) (st Status, err error) {
	err = p.call(ctx, http.MethodPut, "/bridge", nil, b, &st)
	return st, err
}

func (p *peer) retire(ctx context.Context) (st Status, err error) {
	err = p.call(ctx, http.MethodPost, "/retire", nil, nil, &st)
	return st, err
}

func (p *peer) window(ctx context.Context, name string, env api.EnvRef) (t Totals, err error) {
	q := url.Values{"name": {name}, "app": {env.App}, "env": {env.Env}}
	err = p.call(ctx, http.MethodPut, "/window", q, nil, &t)
	return t, err
}

func (p *peer) closeWindow(ctx context.Context, name string) error {
	return p.call(ctx, http.MethodDelete, "/window", url.Values{"name": {name}}, nil, nil)
}
