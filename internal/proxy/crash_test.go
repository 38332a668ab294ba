package proxy

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikada/ikada/internal/proxy/meter"
)

// mortal is a task that answers each request after a while, until its process is killed.
type mortal struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn
	dead  bool
}

func newMortal(t *testing.T, answer time.Duration) *mortal {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{Listener: ln}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(answer)
		fmt.Fprint(w, "hello")
	})}
	go func() { _ = s.Serve(m) }() // it ends with the listener
	t.Cleanup(m.kill)
	return m
}

// Accept is the listener's, and knows the connections.
func (m *mortal) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	tcp := c.(*net.TCPConn)
	if m.dead {
		_ = tcp.SetLinger(0)
	}
	m.conns = append(m.conns, tcp)
	return c, nil
}

// kill does what the kernel does for a process that is gone: no more connections, and the end of those there are.
func (m *mortal) kill() {
	_ = m.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	for _, c := range m.conns {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// TestCrashIsAnsweredByOthers kills one of two tasks under load. No table tells of it; the requests that it had and those
// that are chosen to go there are answered by the other one, within 200 ms.
func TestCrashIsAnsweredByOthers(t *testing.T) {
	for name, client := range map[string]*http.Client{"http/1.1": newTestClient(t), "h2c": h2cClient(t)} {
		t.Run(name, func(t *testing.T) {
			best := time.Hour // what a busy machine adds to a wait it does not add in every round
			for range 3 {
				r := run(t, Config{})
				victim, other := newMortal(t, 5*time.Millisecond), newMortal(t, 5*time.Millisecond)
				r.route("a="+victim.Addr().String(), "b="+other.Addr().String())
				var sent, longest atomic.Int64
				var load sync.WaitGroup
				done := make(chan struct{})
				for range 16 {
					load.Go(func() {
						for {
							select {
							case <-done:
								return
							default:
							}
							start := time.Now()
							status, body, err := get(client, r.url)
							if took := int64(time.Since(start)); took > longest.Load() {
								longest.Store(took)
							}
							if sent.Add(1); err != nil || status != 200 || body != "hello" {
								t.Errorf("answered with %d %q, %v", status, body, err)
								return
							}
						}
					})
				}
				sums := func() []meter.Point { return r.Meters().Sums(meter.ByPool, meter.Selection{}, time.Time{}) }
				eventually(t, "load", func() bool { return sent.Load() > 500 || t.Failed() })
				calm := time.Duration(longest.Swap(0))
				victim.kill()
				before := sent.Load()
				eventually(t, "load after the crash, and a retry", func() bool {
					all := sums()
					return t.Failed() || sent.Load() > before+500 && len(all) == 1 && all[0].Retries > 0
				})
				close(done)
				load.Wait()
				took := time.Duration(longest.Load())
				best = min(best, took)
				r.stop()
				if all := sums(); len(all) != 1 || all[0].Failed != 0 || all[0].Retries == 0 {
					t.Errorf("counted as %+v", all)
				}
				t.Logf("%d requests; the longest wait was %v before the crash, %v after it", sent.Load(), calm, took)
			}
			if best > 200*time.Millisecond {
				t.Errorf("after each crash a request waited %v and more", best)
			}
		})
	}
}
