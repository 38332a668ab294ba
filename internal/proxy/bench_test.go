package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/ikada/ikada/internal/proxy/http1"
)

// BenchmarkSmallKeepAlive is one small reply over a kept connection, from client to target and back, with targets and
// clients in the same process: allocations are those of all three less what the direct case has.
func BenchmarkSmallKeepAlive(b *testing.B) {
	target := tcpBackend(b, func(c *net.TCPConn) {
		br := bufio.NewReader(c)
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
			}
		}
	})
	ask := func(b *testing.B, addr string) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			br := bufio.NewReader(c)
			for pb.Next() {
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					b.Error(err)
					return
				}
				if n, err := io.Copy(io.Discard, res.Body); n != 5 || err != nil {
					b.Error(n, err)
					return
				}
			}
		})
	}
	b.Run("direct", func(b *testing.B) { ask(b, target) })
	b.Run("proxied", func(b *testing.B) {
		r := run(b, Config{})
		r.route("a=" + target)
		ask(b, r.HTTPAddr().String())
	})
}

func BenchmarkFindRoute(b *testing.B) {
	r := routesOf("a.example/", "a.example/api", "*.example/", "/")
	host, path, req := []byte("a.example"), []byte("/api/v1/orders/17"), &http1.Request{}
	b.ReportAllocs()
	for b.Loop() {
		r.find(host, path, req)
	}
}
