package inquiry

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

var env = api.EnvRef{App: "shop", Env: "staging"}

func asker() *Asker {
	return New(Config{Secret: func(_ context.Context, _ api.EnvRef, version string) (string, error) {
		if version != "v1" {
			return "", errors.New("hunter2 cannot be opened")
		}
		return "hunter2\n", nil
	}})
}

func host(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

func TestAskTasks(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok", "/release/7":
			fmt.Fprintf(w, "hello from %s %s %s", r.Host, r.Header.Get("X-Lane"), r.Header.Get("Authorization"))
		case "/moved":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			http.Error(w, "\nboom: no such thing\nmore", http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := gone.Addr().String()
	_ = gone.Close()
	for _, c := range []struct {
		name    string
		http    api.HTTPCheck
		targets []string
		secret  string
		result  string
		reason  string
	}{
		{"good", api.HTTPCheck{Path: "/ok"}, []string{host(server)}, "", api.VerdictPass, "web.1: status 200 after"},
		{"all tasks", api.HTTPCheck{Path: "/ok"}, []string{host(server), host(server)}, "", api.VerdictPass, "2 tasks: web.2: status 200"},
		{"variable", api.HTTPCheck{Path: "/release/{{.Release}}"}, []string{host(server)}, "", api.VerdictPass, "status 200"},
		{"header, host and token", api.HTTPCheck{Path: "/ok", Host: "shop.test", Headers: map[string]string{"X-Lane": "new"}, Contains: "from shop.test new Bearer hunter2"},
			[]string{host(server)}, "v1", api.VerdictPass, "status 200"},
		{"token that is not there", api.HTTPCheck{Path: "/ok"}, []string{host(server)}, "v2", api.VerdictInsufficient, "its token cannot be read"},
		{"status", api.HTTPCheck{Path: "/no"}, []string{host(server)}, "", api.VerdictFail, `web.1: status 500, not 200 to 399: "boom: no such thing"`},
		{"wanted status", api.HTTPCheck{Path: "/no", Status: 500}, []string{host(server)}, "", api.VerdictPass, "status 500"},
		{"redirects are not followed", api.HTTPCheck{Path: "/moved"}, []string{host(server)}, "", api.VerdictPass, "status 302"},
		{"text", api.HTTPCheck{Path: "/ok", Contains: "bye"}, []string{host(server)}, "", api.VerdictFail, `does not contain "bye"`},
		{"slow", api.HTTPCheck{Path: "/slow"}, []string{host(server)}, "", api.VerdictFail, "web.1: no answer in time"},
		{"one of two is gone", api.HTTPCheck{Path: "/ok"}, []string{host(server), closed}, "", api.VerdictFail, "web.2: dial tcp " + closed + ": connect: connection refused"},
		{"no task", api.HTTPCheck{Path: "/ok"}, nil, "", api.VerdictInsufficient, "no task"},
		{"no port", api.HTTPCheck{Path: "/ok"}, []string{"10.0.0.1"}, "", api.VerdictInsufficient, "no port"},
		{"outside, by address", api.HTTPCheck{URL: server.URL + "/ok?key=hunter2"}, nil, "", api.VerdictPass, "status 200"},
		{"outside, no such name", api.HTTPCheck{URL: "http://no-such-host.invalid/?key=hunter2"}, nil, "", api.VerdictInsufficient, "no-such-host.invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := Question{Env: env, Release: 7, Check: api.ReleaseCheck{Name: "c", Service: "web", HTTP: &c.http}.WithDefaults(), Secret: c.secret}
			for i, a := range c.targets {
				q.Targets = append(q.Targets, Target{Name: fmt.Sprintf("web.%d", i+1), Address: a})
			}
			limit := 30 * time.Second
			if c.name == "slow" {
				limit = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			a := asker().Ask(ctx, q)
			if a.Result != c.result || !strings.Contains(a.Reason, c.reason) {
				t.Errorf("%+v, wanted %s with %q", a, c.result, c.reason)
			}
			if strings.Contains(a.Reason, "hunter2") {
				t.Errorf("a secret is told: %s", a.Reason)
			}
		})
	}
}

// TestNearIsAskedByName holds that a name which leads to the node, or to a task, is not asked.
func TestNearIsAskedByName(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
	defer server.Close()
	own := netip.MustParsePrefix("127.0.0.0/8")
	a := New(Config{Own: own.Contains})
	q := Question{Env: env, Check: api.ReleaseCheck{HTTP: &api.HTTPCheck{URL: server.URL}}}
	if got := a.Ask(t.Context(), q); got.Result != api.VerdictInsufficient || !strings.Contains(got.Reason, "is a task's") {
		t.Errorf("a task's address outside of the targets: %+v", got)
	}
	for text, near := range map[string]bool{
		"http://localhost:9090": true, "http://LOCALHOST./x": true, "http://127.8.8.8": true, "http://[::1]/": true, "http://0.0.0.0": true,
		"http://169.254.169.254/latest": true, "http://[fe80::1%25eth0]/": true, "http://[::ffff:127.0.0.1]/": true,
		"http://10.0.0.1": false, "https://prom.example.com": false, "http://localhost.example.com": false,
	} {
		if api.Near(text) != near {
			t.Errorf("%s is near: %v", text, !near)
		}
	}
}

// TestAskPrometheus asks servers that answer well, badly, and not.
func TestAskPrometheus(t *testing.T) {
	half, one := 0.5, 1.0
	vector := func(values ...string) string {
		var list []string
		for _, v := range values {
			list = append(list, `{"metric":{},"value":[1,"`+v+`"]}`)
		}
		return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(list, ",") + `]}}`
	}
	for _, c := range []struct {
		name, answer string
		status       int
		min, max     *float64
		result       string
		value        float64
		reason       string
	}{
		{"within", vector("0.25"), 200, nil, &half, api.VerdictPass, 0.25, "0.25, at most 0.5"},
		{"at the bound", vector("0.5"), 200, nil, &half, api.VerdictPass, 0.5, "0.5, at most 0.5"},
		{"above", vector("0.8333333"), 200, nil, &half, api.VerdictFail, 0.8333333, "0.8333 > 0.5"},
		{"below", vector("0.25"), 200, &half, nil, api.VerdictFail, 0.25, "0.25 < 0.5"},
		{"between", vector("0.75"), 200, &half, &one, api.VerdictPass, 0.75, "0.75, within 0.5 to 1"},
		{"worst of three", vector("0.1", "7", "0.2"), 200, nil, &half, api.VerdictFail, 7, "7 > 0.5, the worst of 3 series"},
		{"infinite", vector("+Inf"), 200, nil, &half, api.VerdictFail, math.Inf(1), "+Inf > 0.5"},
		{"scalar", `{"status":"success","data":{"resultType":"scalar","result":[1,"0.1"]}}`, 200, nil, &half, api.VerdictPass, 0.1, "0.1"},
		{"no number", vector("NaN"), 200, nil, &half, api.VerdictInsufficient, 0, "NaN"},
		{"no number among others", vector("9", "NaN"), 200, nil, &half, api.VerdictInsufficient, 0, "NaN"},
		{"nothing", vector(), 200, nil, &half, api.VerdictInsufficient, 0, "no value"},
		{"matrix", `{"status":"success","data":{"resultType":"matrix","result":[]}}`, 200, nil, &half, api.VerdictInsufficient, 0, "gives a matrix"},
		{"histogram", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}`, 200, nil, &half, api.VerdictInsufficient, 0, "histogram"},
		{"no JSON", "<html>", 200, nil, &half, api.VerdictInsufficient, 0, "status 200: <html>"},
		{"error", `{"status":"error","errorType":"bad_data","error":"parse error"}`, 400, nil, &half, api.VerdictInsufficient, 0, "status 400: parse error"},
		{"down", "upstream is down", 500, nil, &half, api.VerdictInsufficient, 0, "status 500: upstream is down"},
		{"too much", vector(strings.Repeat("1", mostAnswer)), 200, nil, &half, api.VerdictInsufficient, 0, "larger"},
		{"slow", "", 0, nil, &half, api.VerdictInsufficient, 0, "no answer in time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := make(chan url.Values, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/prom/api/v1/query" || r.Header.Get("Authorization") != "Bearer hunter2" {
					t.Errorf("asked for %s with %q", r.URL.Path, r.Header.Get("Authorization"))
				}
				asked <- r.URL.Query()
				if c.status == 0 {
					<-r.Context().Done()
					return
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.answer))
			}))
			defer server.Close()
			limit := 30 * time.Second
			if c.status == 0 {
				limit = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			a := asker().Ask(ctx, Question{Env: env, Release: 7, Secret: "v1", Check: api.ReleaseCheck{Name: "errors", Service: "web",
				PromQL: &api.PromQLCheck{Query: `e{r="{{.Release}}",s="{{ .Service }}",e="{{.Environment}}"}`, Prometheus: server.URL + "/prom/", Min: c.min, Max: c.max}}})
			if a.Result != c.result || !strings.Contains(a.Reason, c.reason) {
				t.Errorf("%+v, wanted %s with %q", a, c.result, c.reason)
			}
			if (a.Value != nil) != (c.result != api.VerdictInsufficient) || a.Value != nil && float64(*a.Value) != c.value {
				t.Errorf("the value is %v, wanted %v", a.Value, c.value)
			}
			select {
			case q := <-asked:
				if got := q.Get("query"); got != `e{r="7",s="web",e="staging"}` {
					t.Errorf("asked for %s", got)
				}
			default:
				if c.status != 0 {
					t.Error("it was not asked")
				}
			}
		})
	}
	dead := Question{Env: env, Check: api.ReleaseCheck{PromQL: &api.PromQLCheck{Query: "up", Prometheus: "http://127.0.0.1:1", Max: &half}}}
	if a := asker().Ask(t.Context(), dead); a.Result != api.VerdictInsufficient || !strings.Contains(a.Reason, "refused") {
		t.Errorf("a server that is not there: %+v", a)
	}
}
