package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikada/ikada/api"
)

// TestRunEndsRequestsInFlight cancels Run while a target still works on a request.
func TestRunEndsRequestsInFlight(t *testing.T) {
	r := run(t, Config{Grace: time.Minute})
	arrived, gate := make(chan struct{}), make(chan struct{})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-gate
		io.WriteString(w, "done")
	})))
	answered := make(chan struct{})
	c := newTestClient(t)
	addr := r.HTTPAddr().String()
	go func() {
		defer close(answered)
		if s, b, err := get(c, r.url); s != 200 || b != "done" || err != nil {
			t.Errorf("%d %q %v", s, b, err)
		}
	}()
	<-arrived
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.stop() }()
	eventually(t, "port closed", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case <-stopped:
		t.Error("Run ended before the request")
	default:
	}
	close(gate)
	<-answered
	<-stopped
}

// TestRunCutsWhatLasts has connections of every kind open that would never end by themselves.
func TestRunCutsWhatLasts(t *testing.T) {
	r := run(t, Config{Grace: 50 * time.Millisecond})
	stuck := backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		if in.Header.Get("Upgrade") != "" {
			echoSocket(w, in)
			return
		}
		<-in.Context().Done()
	}))
	addr, l := r.publish(api.ProtoAuto, "a="+stuck)
	c, _, err := websocket.Dial(context.Background(), r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	dialTCP(t, addr) // says nothing
	hc := newTestClient(t)
	go hc.Get(r.url)
	eventually(t, "all in flight", func() bool {
		p := r.current().pools[poolName]
		return p.targets[0].member.InFlight.Load() == 3
	})
	r.Apply(r.table(time.Minute, l))
	held := newTestClient(t)
	go held.Get(r.url)
	eventually(t, "held", func() bool { return r.Meter(testEnv).Held >= 1 })
	r.stop()
	if _, _, err := c.Read(context.Background()); err == nil {
		t.Error("the WebSocket is still open")
	}
	if m := r.Meter(testEnv); m.InFlight != 0 || m.Held != 0 {
		t.Errorf("meter %+v", m)
	}
	if s := r.Status(); s.Drains["a"] != 0 {
		t.Errorf("status %+v", s)
	}
}
