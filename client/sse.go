package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/ikada/ikada/api"
)

// The names of events in a stream besides plain messages.
const (
	eventEnd   = "end"   // all was said; a stream that ends without it was cut off
	eventError = "error" // the server gave up; data is an api.Error
)

const (
	maxEventBytes  = 8 << 20
	reconnectFirst = 100 * time.Millisecond
	reconnectMax   = 2 * time.Second
	reconnectFor   = time.Minute      // without any contact, before a follower gives up
	silence        = 45 * time.Second // the server sends a heartbeat every 15 s
)

// errCutOff is the end of a stream that the server did not end.
var errCutOff = errors.New("the stream was cut off")

// stream reads one server-sent stream to its end. each gets an event's ID and data.
// See https://html.spec.whatwg.org/multipage/server-sent-events.html for the format.
func (c *Client) stream(ctx context.Context, method, path string, query url.Values, in any, each func(id string, data []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.send(ctx, method, path, query, in, "text/event-stream")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	// A peer that vanished sends nothing, not even an end: silence longer than a few heartbeats is the end.
	watchdog := time.AfterFunc(silence, func() {
		cancel(api.Errorf(api.Unavailable, "ikada at %s fell silent", c.Host()))
	})
	defer watchdog.Stop()
	r := bufio.NewReader(resp.Body)
	for {
		ev, err := readEvent(r, func() { watchdog.Reset(silence) })
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = errCutOff
			}
			return c.unreachable(ctx, err)
		}
		switch ev.name {
		case eventEnd:
			return nil
		case eventError:
			var e api.Error
			if err := json.Unmarshal(ev.data, &e); err != nil {
				return api.Errorf(api.Internal, "read error of stream: %w", err)
			}
			return &e
		case "":
			if err := each(ev.id, ev.data); err != nil {
				return callerError{err}
			}
		}
	}
}

// follow reads a stream again and again until it has ended by the server's word. query is asked for anew at every
// connection, so that it can say where to go on.
func (c *Client) follow(ctx context.Context, path string, query func() url.Values, each func(id string, data []byte) error) error {
	wait, since := reconnectFirst, time.Now()
	for {
		err := c.stream(ctx, http.MethodGet, path, query(), nil, func(id string, data []byte) error {
			wait, since = reconnectFirst, time.Now()
			return each(id, data)
		})
		if !api.IsKind(err, api.Unavailable) || ctx.Err() != nil || isCallers(err) || time.Since(since) > reconnectFor {
			return unwrapCallers(err)
		}
		if errors.Is(err, errCutOff) {
			since = time.Now() // it was there a moment ago
		}
		select {
		case <-ctx.Done():
			return c.unreachable(ctx, err)
		case <-time.After(wait):
		}
		wait = min(2*wait, reconnectMax)
	}
}

// once reads a stream that is not to be repeated.
func (c *Client) once(ctx context.Context, method, path string, query url.Values, in any, each func(id string, data []byte) error) error {
	return unwrapCallers(c.stream(ctx, method, path, query, in, each))
}

// callerError marks an error of the caller's own function, which never means that the connection broke.
type callerError struct{ error }

func isCallers(err error) bool {
	_, ok := errors.AsType[callerError](err)
	return ok
}

func unwrapCallers(err error) error {
	if e, ok := errors.AsType[callerError](err); ok {
		return e.error
	}
	return err
}

type event struct {
	id   string
	name string
	data []byte
}

// readEvent reads up to the next event that has data; alive is called for every line, heartbeats too.
func readEvent(r *bufio.Reader, alive func()) (event, error) {
	var ev event
	for {
		line, err := readLine(r)
		if err != nil {
			return event{}, err
		}
		alive()
		if len(line) == 0 {
			if ev.data == nil {
				ev = event{}
				continue
			}
			return ev, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "data":
			if ev.data == nil {
				ev.data = []byte{}
			} else {
				ev.data = append(ev.data, '\n')
			}
			if len(ev.data)+len(value) > maxEventBytes {
				return event{}, fmt.Errorf("an event is longer than %d bytes", maxEventBytes)
			}
			ev.data = append(ev.data, value...)
		case "event":
			ev.name = string(value)
		case "id":
			ev.id = string(value)
		}
	}
}

// readLine gives a line without its end; it may be longer than the reader's buffer, up to maxEventBytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := r.ReadSlice('\n')
		whole = append(whole, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(whole[:len(whole)-1], []byte("\r")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(whole) > maxEventBytes:
			return nil, fmt.Errorf("a line is longer than %d bytes", maxEventBytes)
		}
	}
}
