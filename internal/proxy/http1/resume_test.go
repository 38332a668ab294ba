package http1

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// parser is what requests and responses are read by, as the tests of this file see them.
type parser struct {
	parse func(b []byte) error
	reset func()
	show  func(err error) string // all that was read, and the error
}

func requestParser() parser {
	r := new(Request)
	return parser{r.Parse, r.Reset, func(err error) string {
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%q %q %s %q size=%d %s", r.Method, r.Target, describeRequest(r, nil), r.Path, r.Size, showFields(r.Fields))
	}}
}

func responseParser(head bool) parser {
	r := new(Response)
	return parser{func(b []byte) error { return r.Parse(b, head) }, r.Reset, func(err error) string {
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%s declared=%d size=%d %s", describeResponse(r, nil), r.Declared, r.Size, showFields(r.Fields))
	}}
}

func showFields(fields []Field) string {
	var b []byte
	for _, f := range fields {
		b = fmt.Appendf(b, "%d %v %q %q\n", f.Kind, f.Hop, f.Name, f.Value)
	}
	return string(b)
}

// copied gives a copy with no room behind it, so that reading past the end panics.
func copied(b []byte) []byte { return slices.Clip(append([]byte{}, b...)) }

// checkSplits reads b in all the ways that it can come in, when it is short: split in two at each place, in the same array
// or moved, and byte by byte. Each must give what a reader gives that sees the same bytes at once.
func checkSplits(t *testing.T, b []byte, fresh func() parser) {
	t.Helper()
	at := func(n int) string { // what n bytes give at once
		p := fresh()
		return p.show(p.parse(copied(b[:n])))
	}
	const long = 600
	step := 1 + len(b)/long
	if got := at(len(b)); len(b) <= long {
		for n := range b {
			p := fresh()
			if first := p.parse(b[:n]); !incomplete(first) {
				if s := p.show(first); s != at(len(b)) {
					t.Fatalf("%q at %d: %s, but whole %s", b, n, s, got)
				}
				continue
			}
			if s := p.show(p.parse(b)); s != got {
				t.Fatalf("%q split at %d: %s, want %s", b, n, s, got)
			}
			p = fresh()
			_ = p.parse(b[:n:n])
			if s := p.show(p.parse(copied(b))); s != got {
				t.Fatalf("%q moved at %d: %s, want %s", b, n, s, got)
			}
		}
	}
	p := fresh()
	for n := 1; n <= len(b); n += step {
		err := p.parse(b[:n:n])
		if len(b) <= long {
			if s := p.show(err); s != at(n) {
				t.Fatalf("%q, piece by piece, at %d: %s, want %s", b, n, s, at(n))
			}
		}
		if !incomplete(err) {
			return
		}
	}
	if s := p.show(p.parse(b)); s != at(len(b)) {
		t.Fatalf("%q, piece by piece: %s, want %s", b, s, at(len(b)))
	}
}

// TestSplits reads every request and response of the tables in pieces, each also with other bytes behind it.
func TestSplits(t *testing.T) {
	for _, c := range requestCases {
		checkSplits(t, []byte(c.head), requestParser)
		checkSplits(t, []byte(c.head+"\x00\xff\r\nX"), requestParser)
	}
	for _, c := range responseCases {
		fresh := func() parser { return responseParser(c.to == "HEAD") }
		checkSplits(t, []byte(c.head), fresh)
		checkSplits(t, []byte(c.head+"HTTP/1.1 200 OK\r\n\r\n"), fresh)
	}
}

// TestWhatFollowsCountsForNothing reads each valid head of the tables with other bytes behind it.
func TestWhatFollowsCountsForNothing(t *testing.T) {
	for _, c := range requestCases {
		p := requestParser()
		want := p.show(p.parse([]byte(c.head)))
		if want == ErrIncomplete.Error() {
			continue
		}
		for _, more := range []string{"\x00", "\r\n\r\n", "\n", "GET / HTTP/1.1\r\n\r\n"} {
			if got := p.show(p.parse([]byte(c.head + more))); got != want {
				t.Errorf("%.200q before %q: %s, want %s", c.head, more, got, want)
			}
		}
	}
}

// TestReset lets a half head go and reads another one from the same array.
func TestReset(t *testing.T) {
	first, second := []byte(get("A: first\r\n")), []byte(get("B: other\r\n"))
	array := bytes.Clone(first)
	var r Request
	if err := r.Parse(array[:len(array)-2]); !incomplete(err) {
		t.Fatal(err)
	}
	r.Reset()
	if len(r.Fields) > 0 || r.mark != (mark{}) {
		t.Errorf("left: %+v", r)
	}
	copy(array, second)
	if err := r.Parse(array); err != nil || string(r.Fields[1].Value) != "other" {
		t.Errorf("%v %s", err, showFields(r.Fields))
	}

	answers := []byte(answer("200 OK", "A: b\r\n"))
	var p Response
	if err := p.Parse(answers[:len(answers)-2], false); !incomplete(err) {
		t.Fatal(err)
	}
	p.Reset()
	copy(answers, answer("404 OK", "A: c\r\n"))
	if err := p.Parse(answers, false); err != nil || p.Status != 404 || string(p.Fields[0].Value) != "c" {
		t.Errorf("%v %d %s", err, p.Status, showFields(p.Fields))
	}
}

// TestTrickleIsLinear counts the work for a head that comes in byte by byte by what is left of it to look at.
func TestTrickleIsLinear(t *testing.T) {
	b := []byte(get("A: " + string(bytes.Repeat([]byte{'b'}, 10000)) + "\r\n" + string(bytes.Repeat([]byte{'c'}, 10000)) + ": d\r\n"))
	var r Request
	for n := 1; n < len(b); n++ {
		if err := r.Parse(b[:n]); !incomplete(err) {
			t.Fatal(n, err)
		}
		if behind := n - r.mark.seen; behind > 1 { // a CR whose LF is to come
			t.Fatalf("with %d bytes, %d are to be looked at again", n, behind)
		}
	}
	if err := r.Parse(b); err != nil {
		t.Fatal(err)
	}
}
