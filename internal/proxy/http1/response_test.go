package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// responseCase is a head and what it means, or why it is refused.
type responseCase struct {
	name string // with the section of RFC 9112, or of RFC 9110 where it says so
	head string
	to   string // the request's method, "" for any but HEAD
	want string // see describeResponse
	err  *Error // then want counts for nothing; its status counts for nothing either: it is always 502
}

// answer is a valid response but for the lines that are put in.
func answer(status, lines string) string { return "HTTP/1.1 " + status + "\r\n" + lines + "\r\n" }

var responseCases = []responseCase{
	// The status line.
	{name: "4 usual", head: answer("200 OK", "Content-Length: 3\r\n"), want: "200 OK length=3"},
	{name: "4 long reason", head: answer("404 Not\there \xff", "Content-Length: 0\r\n"), want: "404 Not\there \xff length=0"},
	{name: "4 empty reason", head: answer("200 ", "Content-Length: 0\r\n"), want: "200 length=0"},
	{name: "4 no reason", head: answer("200", "Content-Length: 0\r\n"), want: "200 length=0"},
	{name: "4 unknown status", head: answer("599 Odd", "Content-Length: 0\r\n"), want: "599 Odd length=0"},
	{name: "4 status of two digits", head: answer("20 OK", ""), err: errStatusLine},
	{name: "4 status of four digits", head: answer("2000 OK", ""), err: errStatusLine},
	{name: "4 status too small", head: answer("099 OK", ""), err: errStatusLine},
	{name: "4 status too great", head: answer("600 OK", ""), err: errStatusLine},
	{name: "4 status with sign", head: answer("+20 OK", ""), err: errStatusLine},
	{name: "4 no status", head: answer("", ""), err: errStatusLine},
	{name: "4 two spaces", head: answer(" 200 OK", ""), err: errStatusLine},
	{name: "4 tab", head: "HTTP/1.1\t200 OK\r\n\r\n", err: errStatusLine},
	{name: "4 no space behind the status", head: answer("200OK", ""), err: errStatusLine},
	{name: "4 control in the reason", head: answer("200 O\x00K", ""), err: errStatusLine},
	{name: "2.2 bare CR in the reason", head: answer("200 O\rK", ""), err: errStatusLine},
	{name: "2.2 line ends with LF", head: "HTTP/1.1 200 OK\n\r\n", err: errBareLF},
	{name: "2.2 blank line before", head: "\r\n" + answer("200 OK", ""), err: errStatusLine},
	{name: "2.3 HTTP/1.0", head: "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", want: "200 OK length=1 1.0 close"},
	{name: "2.3 HTTP/1.0 keep-alive", head: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", want: "200 OK length=1 1.0"},
	{name: "2.3 HTTP/1.2", head: "HTTP/1.2 200 OK\r\n\r\n", err: errStatusOld},
	{name: "2.3 HTTP/2", head: "HTTP/2 200\r\n\r\n", err: errStatusOld},
	{name: "2.3 lower case", head: "http/1.1 200 OK\r\n\r\n", err: errStatusLine},
	{name: "2.3 HTTP/0.9", head: "<html>", err: errStatusLine},
	{name: "4 too long", head: answer("200 "+strings.Repeat("a", MaxLine), ""), err: errStatusLong},

	// The body (6.3, in its order).
	{name: "6.3.1 HEAD", to: "HEAD", head: answer("200 OK", "Content-Length: 3\r\n"), want: "200 OK length=0 declared=3"},
	{name: "6.3.1 HEAD without length", to: "HEAD", head: answer("200 OK", ""), want: "200 OK length=0"},
	{name: "6.3.1 HEAD and chunked", to: "HEAD", head: answer("200 OK", "Transfer-Encoding: chunked\r\n"), want: "200 OK length=0"},
	{name: "6.3.1 304 with length", head: answer("304 Not Modified", "Content-Length: 3\r\n"), want: "304 Not Modified length=0 declared=3"},
	{name: "6.3.1 304", head: answer("304 Not Modified", ""), want: "304 Not Modified length=0"},
	{name: "6.3.1 204", head: answer("204 No Content", ""), want: "204 No Content length=0"},
	{name: "6.3.1 204 with length zero", head: answer("204 No Content", "Content-Length: 0\r\n"), want: "204 No Content length=0"},
	{name: "6.3.1 204 with length", head: answer("204 No Content", "Content-Length: 3\r\n"), want: "204 No Content length=0 declared=3 close"},
	{name: "6.3.1 204 and chunked", head: answer("204 No Content", "Transfer-Encoding: chunked\r\n"), want: "204 No Content length=0 close"},
	{name: "6.3.1 100", head: answer("100 Continue", ""), want: "100 Continue length=0"},
	{name: "6.3.1 103", head: answer("103 Early Hints", "Link: </a>\r\n"), want: "103 Early Hints length=0"},
	{name: "6.3.1 101", head: answer("101 Switching Protocols", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), want: "101 Switching Protocols length=0 upgrade=websocket"},
	{name: "6.3.3 chunked", head: answer("200 OK", "Transfer-Encoding: Chunked\r\n"), want: "200 OK length=-1"},
	{name: "6.3.3 chunked and length", head: answer("200 OK", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), err: errCodingLength},
	{name: "6.3.3 HEAD, chunked and length", to: "HEAD", head: answer("200 OK", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), err: errCodingLength},
	{name: "6.3.4 another coding", head: answer("200 OK", "Transfer-Encoding: gzip, chunked\r\n"), err: errCoding},
	{name: "6.1 chunked in HTTP/1.0", head: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", err: errCodingOld},
	{name: "6.3.5 two lengths", head: answer("200 OK", "Content-Length: 3\r\nContent-Length: 3\r\n"), err: errLengths},
	{name: "6.3.5 list of lengths", head: answer("200 OK", "Content-Length: 3, 3\r\n"), err: errLength},
	{name: "6.3.6 length zero", head: answer("200 OK", "Content-Length: 0\r\n"), want: "200 OK length=0"},
	{name: "6.3.8 until the end", head: answer("200 OK", ""), want: "200 OK length=-2 close"},
	{name: "6.3.8 until the end, keep-alive", head: answer("200 OK", "Connection: keep-alive\r\n"), want: "200 OK length=-2 close"},
	{name: "9110 15.3.6 205 has a length too", head: answer("205 Reset", "Content-Length: 0\r\n"), want: "205 Reset length=0"},

	// Fields: the rules are the requests'.
	{name: "9.3 close", head: answer("200 OK", "Content-Length: 0\r\nConnection: close\r\n"), want: "200 OK length=0 close"},
	{name: "5.2 folded", head: answer("200 OK", "A: b\r\n c\r\n"), err: errFolded},
	{name: "5.1 space before the colon", head: answer("200 OK", "A : b\r\n"), err: errNameSpace},
	{name: "2.2 bare LF", head: answer("200 OK", "A: b\n"), err: errBareLF},
	{name: "9110 5.5 NUL", head: answer("200 OK", "A: \x00\r\n"), err: errValueByte},
	{name: "9110 7.6.1 Set-Cookie named", head: answer("200 OK", "Connection: Set-Cookie\r\n"), err: errNominated},
	{name: "9110 7.8 426", head: answer("426 Upgrade Required", "Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 0\r\n"), want: "426 Upgrade Required length=0 upgrade=a"},
	{name: "5 too many fields", head: answer("200 OK", strings.Repeat("A: b\r\n", MaxFields+1)), err: errManyFields},

	// Not whole.
	{name: "2.1 nothing", head: "", want: "incomplete"},
	{name: "2.1 half a version", head: "HTT", want: "incomplete"},
	{name: "2.1 half a status line", head: "HTTP/1.1 200 OK\r", want: "incomplete"},
	{name: "2.1 no empty line", head: "HTTP/1.1 200 OK\r\nA: b\r\n", want: "incomplete"},
}

// describeResponse gives what Parse found, in a few words: status, reason, length and what is not usual.
func describeResponse(r *Response, err error) string {
	if incomplete(err) {
		return "incomplete"
	}
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprint(r.Status)
	if len(r.Reason) > 0 {
		s += " " + string(r.Reason)
	}
	s += fmt.Sprintf(" length=%d", r.Length)
	if r.Declared >= 0 && r.Declared != r.Length {
		s += fmt.Sprintf(" declared=%d", r.Declared)
	}
	if r.Minor == 0 {
		s += " 1.0"
	}
	if r.Close {
		s += " close"
	}
	if r.Upgrade != nil {
		s += " upgrade=" + string(r.Upgrade)
	}
	return s
}

func (c *responseCase) wanted() string {
	if c.err != nil {
		return "502 " + c.err.Reason
	}
	return c.want
}

func TestResponse(t *testing.T) {
	var r Response // one for all: nothing of one response may be in the next
	for _, c := range responseCases {
		t.Run(c.name, func(t *testing.T) {
			err := r.Parse([]byte(c.head), c.to == "HEAD")
			if got := describeResponse(&r, err); got != c.wanted() {
				t.Errorf("%.200q\ngot  %.200s\nwant %.200s", c.head, got, c.wanted())
			}
			if fault := (*Error)(nil); errors.As(err, &fault) && fault.Status != 502 {
				t.Errorf("status %d", fault.Status)
			}
			if err == nil && r.Size != len(c.head) {
				t.Errorf("size %d, want %d", r.Size, len(c.head))
			}
			if err == nil && (r.Declared < 0) == strings.Contains(c.head, "Content-Length") {
				t.Errorf("declared %d", r.Declared)
			}
			if incomplete(err) {
				r.Reset()
			}
		})
	}
}

// TestLengthOfNoBody keeps a length from being passed on that the answer may not have (RFC 9110 section 8.6).
func TestLengthOfNoBody(t *testing.T) {
	for status, hop := range map[string]bool{"200 OK": false, "304 Not Modified": false, "204 No Content": true, "101 Switching Protocols": true} {
		var r Response
		if err := r.Parse([]byte(answer(status, "A: b\r\nContent-Length: 0\r\n")), false); err != nil {
			t.Fatal(err)
		}
		if r.Fields[0].Hop || r.Fields[1].Hop != hop {
			t.Errorf("%s: %+v", status, r.Fields)
		}
	}
}

// TestInterim reads an interim answer and the final one behind it.
func TestInterim(t *testing.T) {
	b := []byte(answer("103 Early Hints", "Link: </a>\r\n") + answer("200 OK", "Content-Length: 2\r\n") + "hi")
	var r Response
	for _, want := range []string{"103 Early Hints length=0", "200 OK length=2"} {
		if got := describeResponse(&r, r.Parse(b, false)); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		b = b[r.Size:]
	}
	if string(b) != "hi" {
		t.Errorf("left over: %q", b)
	}
}
