package inquiry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/ikada/ikada/api"
)

// Config is what an asker is made of.
type Config struct {
	Metrics Metrics // nil: queries of ikada's own metrics cannot be answered
	// Own tells whether an address is one of ikada's own networks, where only the tasks that are asked are called: what
	// runs there is kept apart. nil: there are none.
	Own func(netip.Addr) bool
	// Secret gives a version of an environment's secret in the clear.
	Secret func(ctx context.Context, env api.EnvRef, version string) (string, error)
}

// Metrics answers queries of an environment's own metrics: a number of each series of the result.
type Metrics interface {
	Values(ctx context.Context, env api.EnvRef, query string) ([]float64, error)
}

// Target is a task that is asked.
type Target struct {
	Name    string
	Address string // host:port; without a port when none is known
}

// Question is a check that is asked of a release.
type Question struct {
	Env     api.EnvRef
	Release uint64
	Check   api.ReleaseCheck // with defaults
	Targets []Target         // of an HTTP check without a URL
	Secret  string           // version of the secret that is sent; "": none
}

// Answer is what came of it.
type Answer struct {
	Result string // api.VerdictPass, api.VerdictFail, api.VerdictInsufficient
	Value  *api.Number
	Reason string
}

// Asker asks.
type Asker struct{ cfg Config }

// New makes an asker.
func New(cfg Config) *Asker { return &Asker{cfg} }

// Ask asks one question; ctx bounds how long that takes.
func (a *Asker) Ask(ctx context.Context, q Question) Answer {
	token := ""
	if q.Secret != "" {
		var err error
		if token, err = a.cfg.Secret(ctx, q.Env, q.Secret); err != nil {
			return unknown("its token cannot be read")
		}
	}
	c := &q.Check
	switch {
	case c.PromQL != nil:
		return a.query(ctx, &q, token)
	case c.HTTP == nil:
		return unknown("there is nothing to ask")
	case c.HTTP.URL != "":
		return a.get(ctx, &q, token, api.FillCheck(c.HTTP.URL, escaped(c, &q)), "", "")
	case len(q.Targets) == 0:
		return unknown("no task to ask")
	}
	var last Answer
	for _, t := range q.Targets {
		if _, port, err := net.SplitHostPort(t.Address); err != nil || port == "" {
			return unknown("the service names no port: give the check one")
		}
		path := api.FillCheck(c.HTTP.Path, escaped(c, &q))
		if last = a.get(ctx, &q, token, "http://"+t.Address+path, t.Address, t.Name); last.Result != api.VerdictPass {
			return last
		}
	}
	if len(q.Targets) > 1 {
		last.Reason = fmt.Sprintf("%d tasks: %s", len(q.Targets), last.Reason)
	}
	return last
}

func escaped(c *api.ReleaseCheck, q *Question) map[string]string {
	values := c.Values(q.Env, q.Release)
	for k, v := range values {
		values[k] = url.PathEscape(v)
	}
	return values
}

func unknown(format string, args ...any) Answer {
	return Answer{Result: api.VerdictInsufficient, Reason: fmt.Sprintf(format, args...)}
}

// get asks for a page. task is the address of the task that is asked, "" for an address outside.
func (a *Asker) get(ctx context.Context, q *Question, token, address, task, name string) Answer {
	h := q.Check.HTTP
	began := time.Now()
	resp, err := a.fetch(ctx, address, token, h.Headers, h.Host, task)
	who := ""
	if name != "" {
		who = name + ": "
	}
	if err != nil {
		if unasked(err) {
			return unknown("%s%s", who, cause(err))
		}
		return Answer{Result: api.VerdictFail, Reason: who + cause(err)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, api.MaxCheckBody))
	status := api.Number(resp.StatusCode)
	out := Answer{Result: api.VerdictPass, Value: &status, Reason: fmt.Sprintf("%sstatus %d after %s", who, resp.StatusCode, round(time.Since(began)))}
	wanted := resp.StatusCode >= 200 && resp.StatusCode <= 399
	expected := "200 to 399"
	if h.Status != 0 {
		wanted, expected = resp.StatusCode == h.Status, strconv.Itoa(h.Status)
	}
	switch {
	case !wanted:
		out.Result, out.Reason = api.VerdictFail, fmt.Sprintf("%sstatus %d, not %s", who, resp.StatusCode, expected)
		if line := firstLine(body); line != "" {
			out.Reason += fmt.Sprintf(": %q", line)
		}
	case err != nil:
		out.Result, out.Reason = api.VerdictFail, who+"the answer broke off: "+cause(err)
	case h.Contains != "" && !bytes.Contains(body, []byte(h.Contains)):
		out.Result, out.Reason = api.VerdictFail, fmt.Sprintf("%sstatus %d, but the answer does not contain %q", who, resp.StatusCode, h.Contains)
	}
	return out
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// firstLine gives the first line of an answer that is not empty, shortened; nothing of what is no text.
func firstLine(body []byte) string {
	const most = 120
	for line := range strings.Lines(string(body[:min(len(body), 4096)])) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if !utf8.ValidString(line) {
			return ""
		}
		if len(line) > most {
			line = strings.ToValidUTF8(line[:most], "") + "…"
		}
		return line
	}
	return ""
}

// errNear is the refusal of an address that a URL reaches without naming it.
var errNear = errors.New("the name leads to the node itself or its link: a URL has to say so by an address")

// errOwn is the refusal of an address of ikada's own networks.
var errOwn = errors.New("the address is a task's: name its service, and a path")

// fetch makes a GET request. Nothing is kept of its connection.
func (a *Asker) fetch(ctx context.Context, address, token string, headers map[string]string, host, task string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "ikada-check")
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	}
	req.Host = host
	dialer := &net.Dialer{ControlContext: func(_ context.Context, _, to string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(to)
		if err != nil {
			return err
		}
		ip := at.Addr().Unmap()
		switch {
		case task != "":
		case api.NearAddress(ip) && !api.Near(address):
			return errNear
		case a.cfg.Own != nil && a.cfg.Own(ip):
			return errOwn
		}
		return nil
	}}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil, DialContext: dialer.DialContext, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client.Do(req)
}

// unasked tells whether the question did not get anywhere, which says nothing about the release.
func unasked(err error) bool {
	_, dns := errors.AsType[*net.DNSError](err)
	return dns || errors.Is(err, errNear) || errors.Is(err, errOwn) || errors.Is(err, context.Canceled)
}

// cause gives an error without the URL, which may hold what is secret.
func cause(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "not asked to the end"
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return err.Error()
}
