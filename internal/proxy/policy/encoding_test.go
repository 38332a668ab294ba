package policy

import (
	"io"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

func TestEncoding(t *testing.T) {
	const html, all = "Content-Type: text/html; charset=utf-8", "Accept-Encoding: gzip, deflate, br, zstd"
	p := compile(t, "/", api.RoutePolicy{Compress: true}, nil)
	for _, c := range []struct {
		name, line string
		asks       []string
		status     string
		answers    []string
		want       string
		varies     bool
	}{
		{"page", "GET /", []string{all}, "200 OK", []string{html}, Zstd, true},
		{"page for an older client", "GET /", []string{"Accept-Encoding: gzip"}, "200 OK", []string{html}, Gzip, true},
		{"client that asks for none", "GET /", nil, "200 OK", []string{html}, "", true},
		{"POST", "POST /", []string{all}, "200 OK", []string{html}, Zstd, true},
		{"error page", "GET /", []string{all}, "404 Not Found", []string{html}, Zstd, true},
		{"unknown length", "GET /", []string{all}, "200 OK", []string{html, "Transfer-Encoding: chunked"}, Zstd, true},

		{"HEAD", "HEAD /", []string{all}, "200 OK", []string{html}, "", true},
		{"small", "GET /", []string{all}, "200 OK", []string{html, "Content-Length: 1023"}, "", false},
		{"just large enough", "GET /", []string{all}, "200 OK", []string{html, "Content-Length: 1024"}, Zstd, true},
		{"empty", "GET /", []string{all}, "200 OK", []string{html, "Content-Length: 0"}, "", false},
		{"no content", "GET /", []string{all}, "204 No Content", []string{html}, "", false},
		{"reset content", "GET /", []string{all}, "205 Reset Content", []string{html}, "", false},
		{"part", "GET /", []string{all}, "206 Partial Content", []string{html, "Content-Range: bytes 0-4999/10000"}, "", false},
		{"not satisfiable", "GET /", []string{all}, "416 Range Not Satisfiable", []string{html, "Content-Range: bytes */10000"}, "", false},
		{"not modified", "GET /", []string{all}, "304 Not Modified", []string{html}, "", false},
		{"continue", "GET /", []string{all}, "103 Early Hints", []string{html}, "", false},

		{"encoded already", "GET /", []string{all}, "200 OK", []string{html, "Content-Encoding: br"}, "", false},
		{"identity by name", "GET /", []string{all}, "200 OK", []string{html, "Content-Encoding: identity"}, "", false},
		{"not to be changed", "GET /", []string{all}, "200 OK", []string{html, "Cache-Control: public, No-Transform"}, "", false},
		{"not to be changed, says the client", "GET /", []string{all, "Cache-Control: no-transform"}, "200 OK", []string{html}, "", true},
		{"cacheable", "GET /", []string{all}, "200 OK", []string{html, "Cache-Control: public, max-age=60"}, Zstd, true},
		{"digest", "GET /", []string{all}, "200 OK", []string{html, "Repr-Digest: sha-256=:AA==:"}, "", false},
		{"old digest", "GET /", []string{all}, "200 OK", []string{html, "content-md5: AA=="}, "", false},

		{"no type", "GET /", []string{all}, "200 OK", nil, "", false},
		{"events", "GET /", []string{all}, "200 OK", []string{"Content-Type: text/event-stream"}, "", false},
		{"picture", "GET /", []string{all}, "200 OK", []string{"Content-Type: image/png"}, "", false},
		{"gRPC", "POST /", []string{all}, "200 OK", []string{"Content-Type: application/grpc+proto"}, "", false},
		{"archive", "GET /", []string{all}, "200 OK", []string{"Content-Type: application/zip"}, "", false},
		{"JSON", "GET /", []string{all}, "200 OK", []string{"Content-Type: Application/JSON"}, Zstd, true},
		{"JSON of a kind", "GET /", []string{all}, "200 OK", []string{"Content-Type: application/problem+json"}, Zstd, true},
		{"drawing", "GET /", []string{all}, "200 OK", []string{"Content-Type: image/svg+xml"}, Zstd, true},
		{"script", "GET /", []string{all}, "200 OK", []string{"Content-Type: text/javascript"}, Zstd, true},
		{"wasm", "GET /", []string{all}, "200 OK", []string{"Content-Type: application/wasm"}, Zstd, true},
		{"font", "GET /", []string{all}, "200 OK", []string{"Content-Type: font/ttf"}, Zstd, true},
		{"font that is compressed", "GET /", []string{all}, "200 OK", []string{"Content-Type: font/woff2"}, "", false},
	} {
		r, res := request(t, c.line, c.asks...), response(t, c.status, c.answers...)
		if got := p.Encoding(r, res); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := p.Varies(res); got != c.varies {
			t.Errorf("%s: varies: %v", c.name, got)
		}
		if off := compile(t, "/", api.RoutePolicy{}, nil); off.Encoding(r, res) != "" || off.Varies(res) {
			t.Errorf("%s: compressed by a route that does not", c.name)
		}
	}
}

// TestAnswersToHeadVary reads an answer to HEAD, which has a length and no body.
func TestAnswersToHeadVary(t *testing.T) {
	p := compile(t, "/", api.RoutePolicy{Compress: true}, nil)
	for length, want := range map[string]bool{"5000": true, "10": false} {
		var res http1.Response
		if err := res.Parse([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: "+length+"\r\n\r\n"), true); err != nil {
			t.Fatal(err)
		}
		if got := p.Varies(&res); got != want {
			t.Errorf("%s bytes: %v", length, got)
		}
	}
}

// TestEncodersAreBounded has as many answers on their way as may be encoded at once.
func TestEncodersAreBounded(t *testing.T) {
	p := compile(t, "/", api.RoutePolicy{Compress: true}, nil)
	r, res := request(t, "GET /", "Accept-Encoding: gzip"), response(t, "200 OK", "Content-Type: text/css")
	lent.Add(mostLent - 1)
	defer lent.Add(1 - mostLent)
	e := NewEncoder(Gzip, io.Discard)
	if got := p.Encoding(r, res); got != "" || !p.Varies(res) {
		t.Errorf("one too many is encoded: %q", got)
	}
	e.Abort()
	if got := p.Encoding(r, res); got != Gzip {
		t.Errorf("the last is not encoded: %q", got)
	}
}

func TestEncodedField(t *testing.T) {
	for _, c := range []struct {
		field, before string
		keep          bool
	}{
		{"Content-Length: 5000", "", false},
		{"accept-ranges: bytes", "", false},
		{`ETag: "abc"`, "W/", true},
		{`ETag: W/"abc"`, "", true},
		{"Content-Type: text/html", "", true},
		{"Vary: Cookie", "", true},
		{"X-Accept-Ranges: bytes", "", true},
	} {
		f := response(t, "200 OK", c.field).Fields[0]
		if before, keep := EncodedField(f); before != c.before || keep != c.keep {
			t.Errorf("%s: %q, %v", c.field, before, keep)
		}
	}
}

func BenchmarkEncoding(b *testing.B) {
	p := compile(b, "/", api.RoutePolicy{Compress: true}, nil)
	r := request(b, "GET /", "Host: a", "Accept: */*", "Accept-Encoding: gzip, deflate, br, zstd", "Cache-Control: no-cache")
	res := response(b, "200 OK", "Server: x", "Content-Type: text/html; charset=utf-8", `ETag: "abc"`, "Cache-Control: max-age=60")
	b.ReportAllocs()
	for b.Loop() {
		if p.Encoding(r, res) != Zstd {
			b.Fatal("not encoded")
		}
	}
}
