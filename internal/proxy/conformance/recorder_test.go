package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is a task that notes what reaches it, byte by byte. It reads as the most careless of servers would, so that
// what a proxy lets through shows, and notes everything in which two readers could differ.
type recorder struct {
	addr    string
	serving sync.WaitGroup // connections

	mu   sync.Mutex
	seen []*record
	busy map[net.Conn]bool // a request has begun and not ended
	idle chan struct{}     // gets a value when none is busy any more
}

// record is one request as it reached the recorder.
type record struct {
	request
	fields []field
	whole  bool     // else the connection broke off within it
	faults []string // what makes it ambiguous
}

func newRecorder(t *testing.T) *recorder {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{addr: ln.Addr().String(), busy: map[net.Conn]bool{}, idle: make(chan struct{}, 1)}
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.serving.Go(func() {
				defer c.Close()
				r.serve(c)
			})
		}
	}()
	t.Cleanup(func() { ln.Close(); <-accepting })
	return r
}

// drain waits until all has been read that was sent by those who have closed their connections, which is everyone: the
// kernel hands over connections in order, so once one more has been served, none is left behind.
func (r *recorder) drain(t *testing.T) {
	t.Helper()
	c := dial(t, r.addr)
	write(t, c, strings.Replace(sentinel, "/sentinel", "/drained", 1))
	if got, err := readReply(bufio.NewReader(c), "GET"); err != nil || got.saw != "GET /drained" {
		t.Errorf("the recorder answers %+v, %v", got, err)
	}
	c.Close()
	r.serving.Wait()
}

// take gives the requests since the last call, once no connection is within one. The first that is not whole and of
// which nothing more comes is waited for in vain, but not for ever.
func (r *recorder) take() []*record {
	limit := time.After(3 * time.Second)
	for {
		r.mu.Lock()
		if len(r.busy) == 0 {
			defer r.mu.Unlock()
			seen := r.seen
			r.seen = nil
			return seen
		}
		r.mu.Unlock()
		select {
		case <-r.idle:
		case <-limit:
			r.mu.Lock()
			defer r.mu.Unlock()
			seen := r.seen
			r.seen = nil
			return seen
		}
	}
}

func (r *recorder) begin(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[c] = true
}

func (r *recorder) end(c net.Conn, got *record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if got != nil {
		r.seen = append(r.seen, got)
	}
	delete(r.busy, c)
	if len(r.busy) == 0 {
		select {
		case r.idle <- struct{}{}:
		default:
		}
	}
}

func (r *recorder) serve(c net.Conn) {
	br := bufio.NewReaderSize(c, 1<<20)
	for {
		if _, err := br.Peek(1); err != nil {
			return
		}
		r.begin(c)
		in := &reading{br: br, c: c, got: &record{}}
		err := in.message()
		in.got.whole = err == nil
		r.end(c, in.got)
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, in.got.answer()); err != nil || in.got.value("connection") == "close" {
			return
		}
	}
}

// answer says which request it is the answer to.
func (g *record) answer() string {
	said := strconv.QuoteToASCII(g.method + " " + g.target)
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Saw: %s\r\nContent-Length: %d\r\n\r\n", said, len(said))
	if g.method == "HEAD" {
		return head
	}
	return head + said
}

// value gives the value of a field in lower case, "" when it is not there.
func (g *record) value(name string) string {
	for _, f := range g.fields {
		if strings.EqualFold(f.name, name) {
			return strings.ToLower(f.value)
		}
	}
	return ""
}

// reading is a request being read.
type reading struct {
	br  *bufio.Reader
	c   net.Conn
	got *record
}

func (in *reading) fault(format string, args ...any) {
	in.got.faults = append(in.got.faults, fmt.Sprintf(format, args...))
}

// line reads up to LF. Whatever ends it or stands in it that a strict reader would not take is a fault.
func (in *reading) line(of string) (string, error) {
	s, err := in.br.ReadString('\n')
	if err != nil {
		return "", err
	}
	s, ok := strings.CutSuffix(s, "\r\n")
	if !ok {
		s = strings.TrimSuffix(s, "\n")
		in.fault("bare LF in a %s", of)
	}
	for _, b := range []byte(s) {
		if b < ' ' && b != '\t' || b == 0x7f {
			in.fault("byte %#02x in a %s", b, of)
		}
	}
	return s, nil
}

func (in *reading) message() error {
	first, err := in.line("request line")
	if err != nil {
		return err
	}
	parts := strings.Split(first, " ")
	if len(parts) != 3 || parts[2] != "HTTP/1.1" || !isToken(parts[0]) || parts[1] == "" {
		in.fault("request line %q", first)
	}
	in.got.method = parts[0]
	if len(parts) > 1 {
		in.got.target = parts[1]
	}
	if in.got.fields, err = in.section("field"); err != nil {
		return err
	}
	in.checkRouting()
	length, chunked := in.framing()
	if strings.Contains(in.got.value("expect"), "100-continue") {
		if _, err := io.WriteString(in.c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return err
		}
	}
	if chunked {
		return in.chunks()
	}
	body := make([]byte, length)
	n, err := io.ReadFull(in.br, body)
	in.got.body = string(body[:n])
	return err
}

// section reads fields up to an empty line.
func (in *reading) section(kind string) ([]field, error) {
	var fields []field
	for {
		s, err := in.line(kind)
		if err != nil || s == "" {
			return fields, err
		}
		name, value, ok := strings.Cut(s, ":")
		switch {
		case s[0] == ' ' || s[0] == '\t':
			in.fault("folded line %q", s)
		case !ok || !isToken(name):
			in.fault("%s %q", kind, s)
		}
		fields = append(fields, field{strings.TrimSpace(name), strings.Trim(value, " \t")})
	}
}

// checkRouting looks at what says whom a request is for.
func (in *reading) checkRouting() {
	hosts := 0
	for _, f := range in.got.fields {
		if strings.EqualFold(f.name, "host") {
			hosts++
			if strings.ContainsAny(f.value, " \t/@\"\\") {
				in.fault("Host %q", f.value)
			}
		}
	}
	if hosts != 1 {
		in.fault("%d Host fields", hosts)
	}
}

// framing finds the body's length, and every reason to differ about it.
func (in *reading) framing() (length int64, chunked bool) {
	lengths, codings := 0, 0
	digits := regexp.MustCompile(`^[0-9]{1,18}$`)
	for _, f := range in.got.fields {
		switch strings.ToLower(f.name) {
		case "content-length":
			lengths++
			if !digits.MatchString(f.value) {
				in.fault("Content-Length %q", f.value)
				continue
			}
			length, _ = strconv.ParseInt(f.value, 10, 64)
		case "transfer-encoding":
			codings++
			chunked = strings.Contains(strings.ToLower(f.value), "chunked")
			if !strings.EqualFold(f.value, "chunked") {
				in.fault("Transfer-Encoding %q", f.value)
			}
		}
	}
	if lengths+codings > 1 {
		in.fault("%d Content-Length and %d Transfer-Encoding", lengths, codings)
	}
	const most = 64 << 20 // more than any case of the corpus sends
	return min(length, most), chunked
}

func (in *reading) chunks() error {
	var body strings.Builder
	defer func() { in.got.body = body.String() }()
	size := regexp.MustCompile(`^[0-9A-Fa-f]{1,15}$`)
	for {
		s, err := in.line("chunk size")
		if err != nil {
			return err
		}
		if !size.MatchString(s) {
			in.fault("chunk size %q", s)
			return errors.New("the body cannot be read")
		}
		n, err := strconv.ParseInt(s, 16, 64)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(&body, in.br, n); err != nil {
			return err
		}
		if s, err := in.line("chunk end"); err != nil {
			return err
		} else if s != "" {
			in.fault("chunk of %d bytes followed by %q", n, s)
			return errors.New("the body cannot be read")
		}
	}
	trailers, err := in.section("trailer")
	for _, f := range trailers {
		switch strings.ToLower(f.name) {
		case "content-length", "transfer-encoding", "host", "connection", "trailer":
			in.fault("trailer %s", f.name)
		}
	}
	return err
}

func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
