package session

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/ikada/ikada/api"
)

// Upgrade sends POST url over conn, asks to go on in proto with meta and header as the request's headers, and gives
// the connection once the server agrees. conn is closed when it does not, or when ctx ends before it answers.
func Upgrade(ctx context.Context, conn net.Conn, url, proto string, meta map[string][]string, header http.Header) (_ net.Conn, err error) {
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return nil, fmt.Errorf("make session request: %w", err)
	}
	for _, h := range []map[string][]string{header, meta} {
		for k, values := range h {
			for _, v := range values {
				req.Header.Add(k, v)
			}
		}
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", proto)

	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := req.Write(conn); err != nil {
		return nil, api.Errorf(api.Unavailable, "ask for build session: %w", err)
	}
	buffered := bufio.NewReader(conn)
	res, err := http.ReadResponse(buffered, req)
	if err != nil {
		return nil, api.Errorf(api.Unavailable, "ask for build session: %w", err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		res.Body.Close()
		return nil, api.Errorf(refusal(res.StatusCode), "ask for build session: the server answered %s: %s", res.Status, strings.TrimSpace(string(said)))
	}
	if !stop() {
		return nil, fmt.Errorf("ask for build session: %w", context.Cause(ctx))
	}
	return &readAhead{Conn: conn, buffered: buffered}, nil
}

func refusal(status int) api.Kind {
	switch status {
	case http.StatusUnauthorized:
		return api.Unauthorized
	case http.StatusForbidden:
		return api.Forbidden
	case http.StatusNotFound:
		return api.NotFound
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return api.Unavailable
	}
	return api.Internal
}

// readAhead is a connection of which a part was read already.
type readAhead struct {
	net.Conn
	buffered *bufio.Reader
}

// Read gives what was read ahead first.
func (c *readAhead) Read(p []byte) (int, error) { return c.buffered.Read(p) }
