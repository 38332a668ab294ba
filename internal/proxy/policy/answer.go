package policy

import (
	"net/http"
	"strconv"
	"time"
)

// Answer is a whole answer to a request. Several requests may be given the same one, so it must not be changed.
//
// Fields are names and values without the framing, which is up to the protocol: who sends the answer adds
// Content-Length, and leaves Body out where the request is HEAD.
type Answer struct {
	Status int
	Fields [][2]string
	Body   []byte

	Maintenance bool // it is meant to be given, and no failure whatever its status
}

const (
	plainText = "text/plain; charset=utf-8"
	htmlText  = "text/html; charset=utf-8"
)

// textAnswer says in plain text what the status says. No cache may keep it, unless fields let it.
func textAnswer(status int, fields ...[2]string) *Answer {
	return &Answer{
		Status: status,
		Fields: append([][2]string{{"Content-Type", plainText}, {"Cache-Control", "no-store"}}, fields...),
		Body:   []byte(http.StatusText(status) + "\n"),
	}
}

// retryAfter is the field that asks a client to wait (RFC 9110, section 10.2.3): whole seconds, at least one.
func retryAfter(d time.Duration) [2]string {
	seconds := int64(max(1, (d+time.Second-1)/time.Second))
	return [2]string{"Retry-After", strconv.FormatInt(seconds, 10)}
}
