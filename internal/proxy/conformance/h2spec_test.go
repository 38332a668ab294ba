package conformance

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"github.com/ikada/ikada/internal/proxy"
)

// TestH2Spec runs every case of h2spec, the strict ones too, against the balancer's port without TLS.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	addr := balance(t, proxy.Config{}, task(t, http.HandlerFunc(pages)))
	runH2Spec(t, addr, config.Config{}, deviations{
		"http2/3.5/2": "the port speaks HTTP/1.1 too, in which a bad preface is a bad request: it is answered with 400, in " +
			"HTTP/1.1, and the connection is closed; the case reads that answer as a broken frame",
	})
}

// deviations are the cases that the balancer fails, each with the reason why that is no fault. One that it passes
// after all is an error too, so that the list stays true.
type deviations map[string]string

// deviationsOfGo are those of HTTP/2 in Go's net/http, which no setting changes.
func deviationsOfGo() deviations {
	return deviations{
		"http2/6.5.3/1": "a SETTINGS frame that names one setting twice ends the connection with PROTOCOL_ERROR, against " +
			"clients that keep a server busy; no client in use sends one",
		"http2/8.1.2.2/1": "a malformed request is answered with 400 and goes no further, where the case wants RST_STREAM; " +
			"RFC 9113, section 8.1.1, lets a server answer first",
		"http2/8.1.2.2/2": "as 8.1.2.2/1",
	}
}

// pages answers with some 2 KB, as h2spec's cases on flow control need at least a few bytes.
func pages(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, strings.Repeat("served by a task behind the balancer\n", 50))
}

func runH2Spec(t *testing.T, addr string, cfg config.Config, known deviations) {
	maps.Copy(known, deviationsOfGo())
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Host, cfg.Path, cfg.Strict = host, "/", true
	cfg.Timeout, cfg.MaxHeaderLen = 10*time.Second, 4000
	if cfg.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		runGroup(t, group, &cfg, known)
	}
}

func runGroup(t *testing.T, group *spec.TestGroup, cfg *config.Config, known deviations) {
	for i, tc := range append(group.Tests, group.StrictTests...) {
		id := fmt.Sprintf("%s/%d", group.ID(), i+1)
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			conn, err := spec.Dial(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			err = tc.Run(cfg, conn)
			switch reason := known[id]; {
			case errors.Is(err, spec.ErrSkipped):
				t.Skipf("%s: does not apply to this server", tc.Desc)
			case err != nil && reason != "":
				t.Logf("%s: known to fail: %s", tc.Desc, reason)
			case err != nil:
				t.Errorf("%s (%s)\n%s\n%v", tc.Desc, group.Title(), tc.Requirement, err)
			case reason != "":
				t.Errorf("%s: passes; it need not be listed as %q", tc.Desc, reason)
			}
		})
	}
	for _, g := range group.Groups {
		runGroup(t, g, cfg, known)
	}
}
