package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

func TestNewChecksTheHost(t *testing.T) {
	for _, host := range []string{"", "ikada", "localhost:7600", "ftp://a", "unix://", "unix://name", "http://", "https://:7600", "http://a/b", "http://u:p@a", "://"} {
		if _, err := New(host, ""); !api.IsKind(err, api.Invalid) || !strings.Contains(err.Error(), "unix:///path") {
			t.Errorf("%q: %v", host, err)
		}
	}
	for _, host := range []string{"unix:///var/lib/ikada/ikada.sock", "http://127.0.0.1:7600", "https://example.com", "http://[::1]:1/"} {
		if _, err := New(host, ""); err != nil {
			t.Errorf("%q: %v", host, err)
		}
	}
}

// TestSocketAtAnyPath calls a server on a socket whose path would be no URL.
func TestSocketAtAnyPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "100% a#b?")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "ikada.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"version":"1.2.3"}`)
	}))
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	c, err := New("unix://"+socket, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if v, err := c.Version(t.Context()); err != nil || v.Version != "1.2.3" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestSchemeMismatchIsNamed(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	c, err := New(strings.Replace(server.URL, "http://", "https://", 1), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Version(t.Context()); !api.IsKind(err, api.Invalid) || !strings.Contains(err.Error(), "call it as http://") {
		t.Errorf("%v", err)
	}
}

func newClient(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	ts := httptest.NewServer(h)
	t.Cleanup(ts.Close)
	c, err := New(ts.URL, "secret-token")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestErrorsComeBackWhole(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret-token" {
			t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"status":409,"kind":"conflict","message":"taken","field":"port","value":"80","expected":"a free port"}`)
	})
	_, err := c.Version(t.Context())
	var e *api.Error
	if !errors.As(err, &e) || e.Kind != api.Conflict || e.Error() != `port: "80": taken; expected a free port` {
		t.Errorf("%v", err)
	}
}

func TestForeignAnswers(t *testing.T) {
	for status, kind := range map[int]api.Kind{401: api.Unauthorized, 403: api.Forbidden, 404: api.NotFound, 502: api.Unavailable, 500: api.Internal, 302: api.Internal} {
		c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>")
		})
		if _, err := c.Version(t.Context()); !api.IsKind(err, kind) {
			t.Errorf("%d: %v", status, err)
		}
	}
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	if _, err := c.Version(t.Context()); !api.IsKind(err, api.Unavailable) {
		t.Errorf("200 that is no JSON: %v", err)
	}
}

func TestContextEndsACall(t *testing.T) {
	c := newClient(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Version(ctx); !api.IsKind(err, api.Timeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := c.Version(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	dead, err := New("http://127.0.0.1:1", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.Version(t.Context()); !api.IsKind(err, api.Unavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v", err)
	}
}

func TestReadEvent(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	r := bufio.NewReader(strings.NewReader(": hello\n\nid: 7\nevent: error\ndata: a\ndata:b\nretry: 1\nunknown\n\n" +
		"event: no data\n\ndata: " + long + "\r\n\r\ndata: cut off\n"))
	beats := 0
	next := func() event {
		t.Helper()
		ev, err := readEvent(r, func() { beats++ })
		if err != nil {
			t.Fatal(err)
		}
		return ev
	}
	if ev := next(); ev.id != "7" || ev.name != "error" || string(ev.data) != "a\nb" {
		t.Errorf("%+v", ev)
	}
	if ev := next(); ev.name != "" || string(ev.data) != long {
		t.Errorf("name %q, %d bytes", ev.name, len(ev.data))
	}
	if _, err := readEvent(r, func() {}); !errors.Is(err, io.EOF) {
		t.Errorf("an event that was cut off: %v", err)
	}
	if beats != 13 {
		t.Errorf("%d signs of life", beats)
	}
	if _, err := readEvent(bufio.NewReader(strings.NewReader("data: "+strings.Repeat("x", maxEventBytes+1)+"\n\n")), func() {}); err == nil {
		t.Error("an event without bound was taken")
	}
}

func FuzzReadEvent(f *testing.F) {
	f.Add(": x\n\nid: 1\nevent: e\ndata: d\n\n")
	f.Add("data\ndata:\n\n")
	f.Add("\r\n\r\n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := bufio.NewReader(strings.NewReader(text))
		for {
			ev, err := readEvent(r, func() {})
			if err != nil {
				return
			}
			if ev.data == nil {
				t.Fatal("an event without data")
			}
		}
	})
}

func TestFollowReconnectsWhereItBrokeOff(t *testing.T) {
	var calls atomic.Int32
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		switch n := calls.Add(1); n {
		case 1:
			_, _ = io.WriteString(w, "data: {\"id\":\"1\"}\n\ndata: {\"id\":\"2\"}\n\n") // and no end
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			if got := r.URL.Query().Get("after"); got != "2" {
				t.Errorf("went on after %q", got)
			}
			if r.URL.Query().Has("limit") {
				t.Error("the limit counts only at first")
			}
			_, _ = io.WriteString(w, "data: {\"id\":\"3\"}\n\nevent: end\ndata: {}\n\n")
		}
	})
	var ids []string
	err := c.Events(t.Context(), api.EventQuery{Follow: true, Limit: 5}, func(e api.Event) error {
		ids = append(ids, e.ID)
		return nil
	})
	if err != nil || strings.Join(ids, "") != "123" || calls.Load() != 3 {
		t.Errorf("events %q, %d calls, %v", ids, calls.Load(), err)
	}
}

func TestStreamsThatDoNotFollowFailWhenCutOff(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "data: {\"id\":\"1\"}\n\n") })
	if err := c.Events(t.Context(), api.EventQuery{}, func(api.Event) error { return nil }); !api.IsKind(err, api.Unavailable) || !errors.Is(err, errCutOff) {
		t.Errorf("%v", err)
	}
	refused := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "event: error\ndata: {\"kind\":\"not_found\",\"message\":\"it was removed\"}\n\n")
	})
	err := refused.Events(t.Context(), api.EventQuery{Follow: true}, func(api.Event) error { return nil })
	if !api.IsKind(err, api.NotFound) {
		t.Errorf("%v", err)
	}
}

func TestFollowEndsWithTheCallersError(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "data: {\"id\":\"1\"}\n\n") })
	mine := api.Errorf(api.Unavailable, "my own pipe broke")
	if err := c.Events(t.Context(), api.EventQuery{Follow: true}, func(api.Event) error { return mine }); err != mine { //nolint:errorlint // the very same
		t.Errorf("%v", err)
	}
}

func TestLogMarkGoesOnWithoutLossOrRepetition(t *testing.T) {
	at := func(task string, second int, text string) api.LogLine {
		return api.LogLine{Task: task, Time: time.Unix(int64(1000+second), 0).UTC(), Text: text}
	}
	m := newLogMark(api.LogRequest{Tail: 10, Follow: true, Service: "web"})
	q := m.query()
	if q.Get("tail") != "10" || q.Get("follow") != "true" || q.Get("service") != "web" || q.Has("since") {
		t.Errorf("first query %v", q)
	}
	read := func(lines ...api.LogLine) string {
		var fresh []string
		for _, l := range lines {
			if m.fresh(l) {
				fresh = append(fresh, l.Text)
			}
		}
		return strings.Join(fresh, " ")
	}
	if got := read(at("a", 1, "a1"), at("b", 1, "b1"), at("a", 5, "a5"), at("a", 5, "a5'")); got != "a1 b1 a5 a5'" {
		t.Errorf("first connection: %q", got)
	}
	q = m.query()
	if since, err := time.Parse(time.RFC3339Nano, q.Get("since")); err != nil || !since.Equal(time.Unix(1003, 0)) || q.Get("tail") != "-1" {
		t.Errorf("second query %v", q)
	}
	// The server repeats the overlap; between were a third line of the same moment, and a late one of b.
	if got := read(at("b", 4, "b4"), at("a", 5, "a5"), at("a", 5, "a5'"), at("a", 5, "a5''"), at("a", 6, "a6"), at("c", 3, "c3")); got != "b4 a5'' a6 c3" {
		t.Errorf("second connection: %q", got)
	}
	if m.query(); read(at("a", 5, "a5"), at("a", 6, "a6"), at("a", 7, "a7")) != "a7" {
		t.Error("third connection repeated or lost a line")
	}
}

func TestPathsAreEscaped(t *testing.T) {
	var got *url.URL
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL
		_, _ = fmt.Fprint(w, "{}")
	})
	if _, err := c.Deployment(t.Context(), api.EnvRef{App: "a/../b", Env: "c?d"}, 3); err != nil {
		t.Fatal(err)
	}
	if got.EscapedPath() != "/api/v1/apps/a%2F..%2Fb/envs/c%3Fd/deployments/3" || got.RawQuery != "" {
		t.Errorf("%s", got)
	}
}

func TestDialSessionRefusedAndCancelled(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Wait") != "" {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"kind":"unavailable","message":"no builder"}`)
	})
	if _, err := c.DialSession(t.Context(), "h2c", nil); !api.IsKind(err, api.Unavailable) || !strings.Contains(err.Error(), "no builder") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.DialSession(ctx, "h2c", map[string][]string{"X-Wait": {"1"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
