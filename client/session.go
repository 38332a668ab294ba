package client

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"time"

	"github.com/ikada/ikada/api"
)

// DialSession opens the connection by which a build reads the client's files: an HTTP request that is upgraded to
// proto ("h2c"), with meta as its headers. Its signature is that of the dialer of BuildKit's session. The connection
// is the caller's to close; ctx bounds only the dialling.
func (c *Client) DialSession(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url("/builds/session", nil), nil)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "make request: %w", err)
	}
	for name, values := range meta {
		for _, v := range values {
			req.Header.Add(name, v)
		}
	}
	c.authorize(req.Header)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", proto)
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	// A context that ends during the handshake unblocks it through a deadline in the past.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	r := bufio.NewReader(conn)
	err = req.Write(conn)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(r, req) //nolint:bodyclose // it ends with the connection
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer func() { _ = conn.Close() }()
		return nil, readError(resp)
	}
	return &upgraded{Conn: conn, r: r}, nil
}

// upgraded is a connection whose first bytes may already stand in the reader of the handshake.
type upgraded struct {
	net.Conn
	r *bufio.Reader
}

func (u *upgraded) Read(p []byte) (int, error) { return u.r.Read(p) }
