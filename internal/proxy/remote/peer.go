package remote

import (
	"bytes"
	"context"
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
	"syscall"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/inside"
)

// peer calls one process of the balancer.
type peer struct{ client *http.Client }

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
		return fmt.Errorf("balancer answers %s: %s", resp.Status, strings.TrimSpace(string(b)))
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

func (p *peer) table(ctx context.Context, t *api.RouteTable) (st Status, err error) {
	err = p.call(ctx, http.MethodPut, "/table", nil, t, &st)
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
