package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// tcpBackend runs serve for each connection.
func tcpBackend(t testing.TB, serve func(c *net.TCPConn)) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return ln.Addr().String()
}

// publish puts one listener with the protocol before the tasks and gives its address.
func (r *running) publish(protocol string, tasks ...string) (string, []api.Listener) {
	port := freePort(r.t)
	l := []api.Listener{{HostIP: "127.0.0.1", Port: port, Protocol: protocol, Pool: poolName}}
	r.Apply(r.table(5*time.Second, l, tasks...))
	if s := r.Status(); len(s.Problem) > 0 {
		r.t.Fatalf("status %+v", s)
	}
	return loopback(port), l
}

func dialTCP(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c.(*net.TCPConn)
}

// TestHalfClose sends, ends its side, and gets the answer that the target gives only then.
func TestHalfClose(t *testing.T) {
	for _, protocol := range []string{api.ProtoTCP, api.ProtoAuto} {
		t.Run("protocol "+protocol, func(t *testing.T) {
			r := run(t, Config{})
			addr, l := r.publish(protocol, "a="+tcpBackend(t, func(c *net.TCPConn) {
				b, err := io.ReadAll(c)
				fmt.Fprintf(c, "%d bytes, %v", len(b), err)
			}))
			c := dialTCP(t, addr)
			io.WriteString(c, strings.Repeat("x", 100000))
			eventually(t, "accepted", func() bool { return r.Meter(testEnv).Requests == 1 })
			r.Apply(r.table(0, l)) // it stays though its target has left
			if n := r.Status().Drains["a"]; n != 1 {
				t.Fatalf("%d in flight", n)
			}
			c.CloseWrite()
			if b, err := io.ReadAll(c); err != nil || string(b) != "100000 bytes, <nil>" {
				t.Fatalf("%q %v", b, err)
			}
			r.until("drained", func(s api.BalancerStatus) bool { return s.Drains["a"] == 0 })
		})
	}
}

func TestServerSpeaksFirst(t *testing.T) {
	for _, protocol := range []string{api.ProtoTCP, api.ProtoAuto} {
		r := run(t, Config{})
		addr, _ := r.publish(protocol, "a="+tcpBackend(t, func(c *net.TCPConn) {
			io.WriteString(c, "220 hello\r\n")
			line, _ := bufio.NewReader(c).ReadString('\n')
			io.WriteString(c, "you said "+line)
		}))
		c := dialTCP(t, addr)
		br := bufio.NewReader(c)
		if line, err := br.ReadString('\n'); err != nil || line != "220 hello\r\n" {
			t.Fatalf("%q %v", line, err)
		}
		io.WriteString(c, "GET / is no request here\n")
		if line, err := br.ReadString('\n'); err != nil || line != "you said GET / is no request here\n" {
			t.Fatalf("%q %v", line, err)
		}
	}
}

func TestAutoTellsHTTP(t *testing.T) {
	r := run(t, Config{})
	addr, _ := r.publish(api.ProtoAuto, "a="+backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		fmt.Fprintf(w, "%s for %s", in.Method, in.Header.Get("X-Forwarded-For"))
	})))
	want(t, newTestClient(t), "http://"+addr, 200, "GET for 127.0.0.1")
	want(t, h2cClient(t), "http://"+addr, 200, "GET for 127.0.0.1")

	// Spoken byte by byte.
	c := dialTCP(t, addr)
	for _, b := range []byte("PROPFIND / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") {
		c.Write([]byte{b})
	}
	if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), "PROPFIND for 127.0.0.1") {
		t.Fatalf("%q %v", b, err)
	}
}

// TestSilentClientThenHTTP has a browser's spare connection: the target is asked, drains away unasked, and the
// request that comes in the end is answered by its successor, as HTTP.
func TestSilentClientThenHTTP(t *testing.T) {
	r := run(t, Config{})
	addr, l := r.publish(api.ProtoAuto, "a="+backend(t, says("from a")))
	c := dialTCP(t, addr)
	asked := func() bool {
		r.routing.RLock()
		defer r.routing.RUnlock()
		for g := range r.Proxy.table.targets() {
			return g.member.InFlight.Load() == 1
		}
		return false
	}
	eventually(t, "the target is asked", asked)
	r.Apply(r.table(5*time.Second, l, "b="+backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		fmt.Fprintf(w, "from b for %s", in.Header.Get("X-Forwarded-For"))
	}))))
	r.until("a drained of its silent connection", func(s api.BalancerStatus) bool { return s.Drains["a"] == 0 })
	eventually(t, "its successor is asked", asked)
	eventually(t, "one connection in flight", func() bool { return r.Meter(testEnv).InFlight == 1 })
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(answer.Body); err != nil || string(b) != "from b for 127.0.0.1" {
		t.Fatalf("%q %v", b, err)
	}
	eventually(t, "nothing in flight on the open connection", func() bool { return r.Meter(testEnv).InFlight == 0 })
	if m := r.Meter(testEnv); m.Requests != 1 || m.Failed != 0 {
		t.Errorf("meter %+v", m)
	}
}

// TestSilentClientThenOther speaks late, and not HTTP.
func TestSilentClientThenOther(t *testing.T) {
	r := run(t, Config{})
	addr, _ := r.publish(api.ProtoAuto, "a="+tcpBackend(t, func(c *net.TCPConn) { io.Copy(c, c) }))
	c := dialTCP(t, addr)
	eventually(t, "the target is asked", func() bool { return r.Meter(testEnv).InFlight == 1 })
	io.WriteString(c, "PING\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "PING\r\n" {
		t.Fatalf("%q %v", line, err)
	}
}

func TestTCPIsHeldAndRetried(t *testing.T) {
	r := run(t, Config{})
	addr, l := r.publish(api.ProtoTCP)
	c := dialTCP(t, addr)
	eventually(t, "held", func() bool { return r.Meter(testEnv).Held == 1 })
	echo := tcpBackend(t, func(c *net.TCPConn) { io.Copy(c, c) })
	r.Apply(r.table(5*time.Second, l, "dead="+loopback(freePort(t)), "a="+echo))
	io.WriteString(c, "x")
	c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "x" {
		t.Fatalf("%q %v", b, err)
	}
	if m := r.Meter(testEnv); m.Held != 0 || m.Failed != 0 || m.Requests != 1 {
		t.Errorf("meter %+v", m)
	}
}

// TestPortCheckIsNoFailure connects and closes while there is no target.
func TestPortCheckIsNoFailure(t *testing.T) {
	r := run(t, Config{})
	port := freePort(t)
	l := []api.Listener{{HostIP: "127.0.0.1", Port: port, Pool: poolName}}
	r.Apply(r.table(20*time.Millisecond, l))
	for said, failed := range map[string]uint64{"": 0, "PING\r\n": 1} {
		before := r.Meter(testEnv).Failed
		c := dialTCP(t, loopback(port))
		io.WriteString(c, said)
		c.CloseWrite()
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
			t.Errorf("%q %v", b, err)
		}
		if got := r.Meter(testEnv).Failed - before; got != failed {
			t.Errorf("%q: %d failures, want %d", said, got, failed)
		}
	}
}

func TestSoundsHTTP(t *testing.T) {
	for in, out := range map[string]verdictOnHTTP{
		"": unclear, "G": unclear, "GET": unclear, "GET ": unclear, "GET /": yes, "GET /x HTTP/1.1": yes,
		"PRI * HTTP/2.0": yes, "OPTIONS *": yes, "GET http://x/": yes, "VERSION-CONTROL /": yes,
		"PING\r\n": no, "get foo": no, " GET /": no, "SET key": no, "\x16\x03\x01": no, "-A /": no,
		"SSH-2.0-x": no, "ABCDEFGHIJKLMNOPQRSTU": no, "*1\r\n": no,
	} {
		if got := soundsHTTP([]byte(in)); got != out {
			t.Errorf("%q: %d, want %d", in, got, out)
		}
	}
}

func FuzzSoundsHTTP(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// More bytes never change an answer, and a bounded number always gives one.
		seen := unclear
		for i := range b {
			got := soundsHTTP(b[:i+1])
			if seen != unclear && got != seen {
				t.Fatalf("%q changed its mind at %d", b, i)
			}
			seen = got
		}
		if len(b) > 22 && seen == unclear {
			t.Fatalf("%q is never clear", b)
		}
	})
}
