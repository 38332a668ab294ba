package proxy

import (
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

const copyBytes = 32 << 10

// send passes the request on to the target and gives its answer's head.
func (x *exchange) send(t *target) (*http.Response, error) {
	out, early := x.outbound(t)
	defer early.stop()
	if isGRPC(x.r) {
		return t.h2c().RoundTrip(out)
	}
	return t.http1.RoundTrip(out)
}

// outbound is the request as the target gets it: same method, host, path, query and end-to-end fields.
func (x *exchange) outbound(t *target) (*http.Request, *interim) {
	early := &interim{w: x.w, passes: x.r.ProtoAtLeast(1, 1)}
	ctx := httptrace.WithClientTrace(x.r.Context(), &httptrace.ClientTrace{Got1xxResponse: early.got})
	in := x.r.URL
	out := (&http.Request{
		Method: x.r.Method,
		URL: &url.URL{
			Scheme: "http", Host: t.Address,
			Path: in.Path, RawPath: in.RawPath, RawQuery: in.RawQuery, ForceQuery: in.ForceQuery,
		},
		Host:   x.r.Host,
		Header: x.r.Header.Clone(),
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: http.NoBody,
	}).WithContext(ctx)
	if x.body != nil {
		out.Body, out.ContentLength = x.body, x.r.ContentLength
		// Shared, not copied: the server fills the values in when it has read the body's end, and the transport reads
		// them right after, in the same goroutine.
		out.Trailer = x.r.Trailer
	}
	upgrade := upgradeOf(out.Header)
	trailers := httpguts.HeaderValuesContainsToken(x.r.Header["Te"], "trailers")
	dropHopByHop(out.Header)
	if upgrade != "" {
		out.Header["Connection"], out.Header["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	}
	if trailers {
		out.Header["Te"] = []string{"trailers"}
	}
	setForwarded(out.Header, x.r)
	if _, named := out.Header["User-Agent"]; !named {
		out.Header["User-Agent"] = []string{""} // else the transport would write its own
	}
	return out, early
}

// interim passes informational answers (103 Early Hints) on. 100 Continue is not among them: the server sends it
// when the transport begins to read the body, which it does when the target has asked for it.
type interim struct {
	w      http.ResponseWriter
	passes bool // HTTP/1.0 has none
	mu     sync.Mutex
	ended  bool // the final answer has come: w belongs to whoever writes that
}

func (i *interim) got(code int, h textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended || !i.passes || code == http.StatusContinue {
		return nil
	}
	to := i.w.Header()
	maps.Copy(to, h)
	dropHopByHop(to)
	i.w.WriteHeader(code)
	clear(to)
	return nil
}

func (i *interim) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ended = true
}

// answer passes the target's answer on to the client. When it breaks off the client's connection is cut, so that
// the client cannot take the part for the whole.
func (x *exchange) answer(t *target, res *http.Response) {
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.tunnel(t, res)
		return
	}
	defer res.Body.Close()
	h := x.w.Header()
	maps.Copy(h, res.Header)
	dropHopByHop(h)
	if _, named := h["Content-Type"]; !named {
		h["Content-Type"] = nil // else the server would guess one
	}
	announced := len(res.Trailer)
	for k := range res.Trailer {
		h.Add("Trailer", k)
	}
	x.firstByte()
	x.result.status = res.StatusCode
	x.result.failed = res.StatusCode >= 500
	x.w.WriteHeader(res.StatusCode)

	if clientErr, targetErr := x.copyBody(res); clientErr != nil || targetErr != nil {
		switch {
		case targetErr == nil || x.r.Context().Err() != nil || x.body.clientFailed():
			x.result.aborted = true
		default:
			x.result.failed = true
			x.proxy.faults.write(&x.search, t, stepAnswer, targetErr)
		}
		panic(http.ErrAbortHandler)
	}
	x.trailers(res, announced)
}

// copyBody tells an error of the client's connection from one of the target's.
func (x *exchange) copyBody(res *http.Response) (clientErr, targetErr error) {
	flush := http.NewResponseController(x.w).Flush
	if streams(res) {
		if err := flush(); err != nil { // the head must not wait for the first piece
			return err, nil
		}
	}
	buf := x.proxy.buffers.Get().(*[copyBytes]byte)
	defer x.proxy.buffers.Put(buf)
	for done := int64(0); ; {
		n, err := res.Body.Read(buf[:])
		if n > 0 {
			if _, err := x.w.Write(buf[:n]); err != nil {
				return err, nil
			}
			done += int64(n)
			if done != res.ContentLength { // the last piece goes out with the end of the answer
				if err := flush(); err != nil {
					return err, nil
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// streams tells whether the answer's body may come in pieces over time.
func streams(res *http.Response) bool {
	if res.ContentLength == -1 {
		return true
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return kind == "text/event-stream"
}

// trailers passes on the fields after the body: those announced by name, and others by net/http's prefix.
func (x *exchange) trailers(res *http.Response, announced int) {
	if len(res.Trailer) == 0 {
		return
	}
	// Without this a short body would be sent with a Content-Length, which leaves no room for trailers.
	if err := http.NewResponseController(x.w).Flush(); err != nil {
		return
	}
	prefix := ""
	if len(res.Trailer) != announced {
		prefix = http.TrailerPrefix
	}
	h := x.w.Header()
	for k, v := range res.Trailer {
		h[prefix+k] = v
	}
}

// sameProtocol tells whether the target switched to what the client had asked for.
func sameProtocol(asked, got string) bool { return asked != "" && strings.EqualFold(asked, got) }
