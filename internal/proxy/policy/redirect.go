package policy

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

// redirect sends a client elsewhere. What is "" stays as it was asked for.
type redirect struct {
	scheme string
	host   string // with a port or not
	path   string
	status int
}

func compileRedirect(d *api.Redirect) (*redirect, error) {
	if d == nil {
		return nil, nil // no redirect is no error
	}
	n := &redirect{scheme: d.Scheme, host: d.Host, status: d.Status}
	switch {
	case d.Scheme == "" && d.Host == "" && d.Path == "":
		return nil, api.FieldError("redirect", "", "a scheme, a host or a path")
	case d.Scheme != "" && d.Scheme != "http" && d.Scheme != "https":
		return nil, api.FieldError("redirect.scheme", d.Scheme, "one of http, https")
	case d.Host != "" && !authority(d.Host):
		return nil, api.FieldError("redirect.host", d.Host, "a host name or address, and maybe ':' and a port")
	case d.Path != "" && !configuredPath(d.Path):
		return nil, api.FieldError("redirect.path", d.Path, configuredRule)
	}
	n.path = string(appendURI(nil, d.Path))
	switch d.Status {
	case 0:
		n.status = http.StatusPermanentRedirect
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, api.FieldError("redirect.status", strconv.Itoa(d.Status), "one of 301, 302, 303, 307, 308")
	}
	return n, nil
}

// answer gives the redirect, or nil for a request that is already as the redirect would have it.
func (d *redirect) answer(r *http1.Request, c Client) *Answer {
	scheme := "http"
	if c.TLS {
		scheme = "https"
	}
	otherScheme := d.scheme != "" && d.scheme != scheme
	if otherScheme {
		scheme = d.scheme
	}
	if !otherScheme && (d.host == "" || atHost(r.Authority, d.host, scheme)) && (d.path == "" || d.path == string(r.Path)) {
		return nil
	}
	var to []byte
	if d.scheme != "" || d.host != "" {
		host := []byte(d.host)
		if d.host == "" {
			if host = r.Authority; !authority(host) {
				return textAnswer(http.StatusBadRequest) // there is no saying where to
			}
			if otherScheme {
				host, _ = splitPort(host) // it was the other scheme's port
			}
		}
		to = append(append(append(to, scheme...), "://"...), host...)
	}
	switch {
	case d.path != "":
		if len(to) == 0 && strings.HasPrefix(d.path, "//") {
			to = append(to, "/."...) // or it would be a host (RFC 3986, section 4.2)
		}
		to = append(to, d.path...)
	case len(r.Path) > 0 && r.Path[0] == '/':
		to = appendURI(to, r.Path)
	default:
		to = append(to, '/')
	}
	if r.HasQuery {
		to = appendURI(append(to, '?'), r.Query)
	}
	return &Answer{
		Status: d.status,
		Fields: [][2]string{{"Location", string(to)}, {"Content-Type", plainText}},
		Body:   []byte(http.StatusText(d.status) + "\n"),
	}
}

// atHost tells whether a request for authority reached host, with whatever port if host names none.
func atHost(authority []byte, host, scheme string) bool {
	name, port := splitPort(authority)
	wantName, wantPort := splitPort([]byte(host))
	if !bytes.EqualFold(bytes.TrimSuffix(name, []byte(".")), bytes.TrimSuffix(wantName, []byte("."))) {
		return false
	}
	if len(wantPort) == 0 {
		return true
	}
	if len(port) == 0 {
		port = []byte(map[string]string{"http": "80", "https": "443"}[scheme])
	}
	return bytes.Equal(port, wantPort)
}

// splitPort gives the two parts of host:port; port is nil when there is none. A host may be an IPv6 address in brackets.
func splitPort(authority []byte) (host, port []byte) {
	i := bytes.LastIndexByte(authority, ':')
	if i < 0 || bytes.IndexByte(authority[i:], ']') >= 0 {
		return authority, nil
	}
	return authority[:i], authority[i+1:]
}

// authority tells whether s is a host with an optional port, of such characters only as can do no harm in a Location:
// stricter than RFC 3986, which lets user names and escapes stand there.
func authority[T string | []byte](s T) bool {
	host, port := splitPort([]byte(s))
	for _, c := range port {
		if c < '0' || c > '9' {
			return false
		}
	}
	if len(port) > 5 || len(host) == 0 {
		return false
	}
	extra := "-._"
	if host[0] == '[' {
		if host[len(host)-1] != ']' || len(host) < 4 {
			return false
		}
		host, extra = host[1:len(host)-1], ":."
	}
	for _, c := range host {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}
