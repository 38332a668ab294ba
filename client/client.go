package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// Prefix is the path under which the API is served.
const Prefix = "/api/v1"

const (
	dialTimeout   = 10 * time.Second
	maxErrorBytes = 1 << 20
)

// Client calls one ikada server.
type Client struct {
	base  *url.URL // scheme and authority, for requests
	dial  func(ctx context.Context) (net.Conn, error)
	token string
	lock  string // the session's lock that requests run under
	http  *http.Client
}

// New makes a client of the server at host: "unix:///var/lib/ikada/ikada.sock", "http://127.0.0.1:7600" or
// "https://example.com:7600". token may be empty on a unix socket. No connection is made yet; an error means that
// host is malformed.
func New(host, token string) (*Client, error) { return Open(host, Options{Token: token}) }

// Open is New with more to say. An error also means that what it says of certificates cannot be used.
func Open(host string, o Options) (*Client, error) {
	const expected = "unix:///path/to/ikada.sock, http://host:port or https://host:port"
	socket, local := strings.CutPrefix(host, "unix://") // a path, in which '%' and '#' are letters
	u, err := &url.URL{Scheme: "unix"}, error(nil)
	if !local {
		u, err = url.Parse(host)
	}
	if err != nil {
		return nil, api.FieldError("host", host, expected)
	}
	trust, err := o.tls(u.Hostname())
	if err != nil {
		return nil, err
	}
	c := &Client{token: o.Token}
	network, address := "tcp", u.Host
	switch u.Scheme {
	case "unix":
		network, address = "unix", socket
		if !strings.Contains(socket, "/") {
			return nil, api.FieldError("host", host, expected)
		}
		c.base = &url.URL{Scheme: "http", Host: "ikada"}
	case "http", "https":
		if u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
			return nil, api.FieldError("host", host, expected)
		}
		if u.Port() == "" {
			address = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
		}
		c.base = &url.URL{Scheme: u.Scheme, Host: u.Host}
	default:
		return nil, api.FieldError("host", host, expected)
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	plain := func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, network, address) }
	c.dial = plain
	if u.Scheme == "https" {
		secure := &tls.Dialer{NetDialer: dialer, Config: trust}
		c.dial = func(ctx context.Context) (net.Conn, error) { return secure.DialContext(ctx, network, address) }
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return plain(ctx) },
			TLSClientConfig:     trust.Clone(),
			TLSHandshakeTimeout: dialTimeout,
			MaxIdleConnsPerHost: 8,
			IdleConnTimeout:     time.Minute,
			ForceAttemptHTTP2:   false,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call sends in as JSON, unless it is nil, and reads the answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	resp, err := c.send(ctx, method, path, query, in, "application/json")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	if err != nil {
		return c.unreachable(ctx, fmt.Errorf("read answer of %s %s: %w", method, path, err))
	}
	return nil
}

// fetch is call with the answer as its result.
func fetch[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any) (T, error) {
	var out T
	err := c.call(ctx, method, path, query, in, &out)
	return out, err
}

// send gives the response of a request that succeeded; its body is to be closed.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, in any, accept string) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, api.Errorf(api.Invalid, "encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url(path, query), body)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "make request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", accept)
	c.authorize(req.Header)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		defer func() { _ = resp.Body.Close() }()
		return nil, readError(resp)
	}
	return resp, nil
}

// url joins the server's address, the API's prefix, an escaped path and a query.
func (c *Client) url(path string, query url.Values) string {
	s := c.base.String() + Prefix + path
	if len(query) > 0 {
		s += "?" + query.Encode()
	}
	return s
}

func (c *Client) authorize(h http.Header) {
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
	if c.lock != "" {
		h.Set(api.LockHeader, c.lock)
	}
}

// unreachable classifies an error of the connection. What the caller's own context ended keeps that cause.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.DeadlineExceeded) {
			return api.Errorf(api.Timeout, "call ikada: %w", cause)
		}
		return fmt.Errorf("call ikada: %w", cause)
	}
	if uerr, ok := errors.AsType[*url.Error](err); ok {
		err = uerr.Err // its text repeats method and address
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return api.Errorf(api.Invalid, "the server at %s speaks plain HTTP: call it as http://, not https://", c.Host())
	}
	return api.Errorf(api.Unavailable, "reach ikada at %s: %w", c.Host(), &Unreachable{err})
}

// Unreachable is in the chain of an error that says that the server itself could not be reached, unlike something that
// the server asked for in vain.
type Unreachable struct{ err error }

// Error gives the cause's text.
func (e *Unreachable) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *Unreachable) Unwrap() error { return e.err }

// Host gives the server's address for messages.
func (c *Client) Host() string {
	if c.base.Host == "ikada" {
		return "its unix socket"
	}
	return c.base.String()
}

// readError reads the error of an answer. One that is not ikada's, as of a proxy in between, is told by its status.
func readError(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	var e api.Error
	if err := json.Unmarshal(b, &e); err == nil && e.Kind != "" {
		return &e
	}
	if resp.StatusCode == http.StatusBadRequest && bytes.Contains(b, []byte("HTTP request to an HTTPS server")) {
		return api.Errorf(api.Invalid, "the server speaks TLS: call it as https://, not http://")
	}
	kind := api.Internal
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		kind = api.Unauthorized
	case http.StatusForbidden:
		kind = api.Forbidden
	case http.StatusNotFound:
		kind = api.NotFound
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		kind = api.Unavailable
	}
	return api.Errorf(kind, "server answered %s, which is not an answer of ikada's API", resp.Status)
}

// path joins segments, each escaped.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}
