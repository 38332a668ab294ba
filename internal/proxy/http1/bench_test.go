package http1

import (
	"strconv"
	"strings"
	"testing"
)

// Heads as they come: of wrk, of a browser, of a small server behind the balancer.
var (
	wrkRequest = []byte("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\nUser-Agent: wrk/4.1.0\r\n\r\n")

	browserRequest = []byte("GET /assets/app/main.css?v=3f9c2a HTTP/1.1\r\n" +
		"Host: shop.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Referer: https://shop.example.com/catalogue/boats\r\n" +
		"Connection: keep-alive\r\n" +
		"Cookie: session=6c1f1f9d27d44d0e9d4f1d8fbb7e5e1c; theme=dark; consent=necessary\r\n" +
		"Sec-Fetch-Dest: document\r\n" +
		"Cache-Control: max-age=0\r\n\r\n")

	smallResponse = []byte("HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 09:00:00 GMT\r\n" +
		"Content-Type: text/plain\r\nContent-Length: 13\r\nLast-Modified: Sun, 22 Nov 2026 08:00:00 GMT\r\n" +
		"Connection: keep-alive\r\nETag: \"6741a1c0-d\"\r\nAccept-Ranges: bytes\r\n\r\n")
)

func BenchmarkRequest(b *testing.B) {
	for _, c := range []struct {
		name string
		head []byte
	}{{"wrk", wrkRequest}, {"browser", browserRequest}} {
		b.Run(c.name, func(b *testing.B) {
			var r Request
			b.SetBytes(int64(len(c.head)))
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Parse(c.head); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkResponse(b *testing.B) {
	var r Response
	b.SetBytes(int64(len(smallResponse)))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Parse(smallResponse, false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	for _, size := range []int{16, 4096} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			var body []byte
			for range 16 {
				body = append(AppendChunkHead(body, size), strings.Repeat("x", size)+"\r\n"...)
			}
			body = append(body, "0\r\n\r\n"...)
			var c Chunks
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				c.Reset()
				for rest, done := body, false; !done; {
					_, used, d, err := c.Next(rest)
					if err != nil {
						b.Fatal(err)
					}
					rest, done = rest[used:], d
				}
			}
		})
	}
}

func BenchmarkKindOf(b *testing.B) {
	names := [][]byte{[]byte("Host"), []byte("User-Agent"), []byte("Sec-Fetch-Dest"), []byte("X-Forwarded-Proto")}
	for b.Loop() {
		for _, n := range names {
			KindOf(n)
		}
	}
}

// TestNoAllocations holds what is read for every request to none.
func TestNoAllocations(t *testing.T) {
	var q Request
	var p Response
	var c Chunks
	body := []byte("5;a=b\r\nhello\r\n0\r\n\r\n")
	refused := []byte("GET / HTTP/1.1\r\nHost : a\r\n\r\n")
	dst := make([]byte, 0, 32)
	for name, f := range map[string]func(){
		"wrk's request":     func() { _ = q.Parse(wrkRequest) },
		"browser's request": func() { _ = q.Parse(browserRequest) },
		"half a request":    func() { _ = q.Parse(browserRequest[:200]) },
		"refused request":   func() { _ = q.Parse(refused) },
		"response":          func() { _ = p.Parse(smallResponse, false) },
		"chunks":            func() { c.Reset(); _, _, _, _ = c.Next(body) },
		"chunk head":        func() { dst = AppendChunkHead(dst[:0], 65536) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
