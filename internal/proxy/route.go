package proxy

import (
	"bytes"
	"net"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
	"github.com/ikada/ikada/internal/proxy/policy"
)

// routes finds an entry by host and path: exact hosts before wildcards, longer wildcards before shorter, those before
// routes for any host; within a host the longest path prefix, and of several with one prefix the first whose methods
// and headers fit. A host whose paths do not match leaves the request to the less exact ones.
type routes struct {
	exact map[string]*paths
	wild  map[string]*paths // by what follows the "*", such as ".example.com"
	any   *paths
}

// paths is the prefixes of one host, without the slash at their end.
type paths struct {
	list    []prefixed // in the order of the table
	entries map[string][]*entry
	longest int // bytes; bounds the work that a path of a hostile request can cause
}

// prefixed is an entry with the prefix that it is found by.
type prefixed struct {
	prefix string
	*entry
}

// maxHost is the length of the longest name in DNS (RFC 1035); no wildcard is tried for a longer one.
const maxHost = 253

func (c *compiler) routes(list []api.Route) routes {
	old := &c.old.routes
	r := routes{exact: make(map[string]*paths, len(old.exact)), wild: make(map[string]*paths, len(old.wild))}
	for i := range list {
		route := &list[i]
		p := c.next.pools[route.Pool]
		if p == nil {
			continue
		}
		name := route.Claim()
		if c.next.entries[name] != nil {
			continue // the first of two equal ones holds
		}
		e := c.newEntry(name, route.Path, p, route.RoutePolicy)
		if e == nil {
			continue
		}
		host := string(cleanHost([]byte(route.Host)))
		switch {
		case host == "" || host == "*":
			r.any = r.any.with(route.Path, e)
		case strings.HasPrefix(host, "*."):
			r.wild[host[1:]] = r.wild[host[1:]].with(route.Path, e)
		default:
			r.exact[host] = r.exact[host].with(route.Path, e)
		}
	}
	for host, s := range r.exact {
		r.exact[host] = s.ready(old.exact[host])
	}
	for host, s := range r.wild {
		r.wild[host] = s.ready(old.wild[host])
	}
	r.any = r.any.ready(old.any)
	return r
}

func (s *paths) with(prefix string, e *entry) *paths {
	if s == nil {
		s = &paths{}
	}
	s.list = append(s.list, prefixed{policy.MatchPrefix(prefix), e})
	return s
}

// ready gives the paths that the host had in the table before if they are the same, else these in the form to search in.
func (s *paths) ready(old *paths) *paths {
	switch {
	case s == nil:
		return nil
	case old != nil && slices.Equal(s.list, old.list):
		return old
	}
	s.entries = make(map[string][]*entry, len(s.list))
	for _, p := range s.list {
		s.entries[p.prefix] = append(s.entries[p.prefix], p.entry)
		s.longest = max(s.longest, len(p.prefix))
	}
	for _, all := range s.entries {
		sortEntries(all)
	}
	return s
}

// find gives the entry for a request, nil when no route matches. host is without a port and in lower case, path as
// [policy.MatchPath] gives it.
func (r *routes) find(host, path []byte, req *http1.Request) *entry {
	if e := r.exact[string(host)].find(path, req); e != nil {
		return e
	}
	if len(r.wild) > 0 && len(host) <= maxHost {
		for rest := host; ; {
			dot := bytes.IndexByte(rest, '.')
			if dot < 0 {
				break
			}
			if dot > 0 || len(rest) < len(host) { // "*" stands for at least one character
				if e := r.wild[string(rest[dot:])].find(path, req); e != nil {
					return e
				}
			}
			rest = rest[dot+1:]
		}
	}
	return r.any.find(path, req)
}

func (s *paths) find(path []byte, req *http1.Request) *entry {
	if s == nil {
		return nil
	}
	// Only a prefix that ends where a segment of the path ends can match.
	end := len(path)
	if end > s.longest {
		end = s.longest
		if path[end] != '/' {
			end = bytes.LastIndexByte(path[:end], '/')
		}
	}
	for end >= 0 {
		if e := first(s.entries[string(path[:end])], req); e != nil {
			return e
		}
		end = bytes.LastIndexByte(path[:end], '/')
	}
	return first(s.entries[""], req)
}

// first gives the first entry that takes the request.
func first(all []*entry, req *http1.Request) *entry {
	for _, e := range all {
		if e.policy.Zero() || e.policy.Matches(req) {
			return e
		}
	}
	return nil
}

// cleanHost gives the name in lower case, without a port, a closing dot or the brackets of an IPv6 address. It is part
// of host where that is so already, else a copy.
func cleanHost(host []byte) []byte {
	if colon := bytes.LastIndexByte(host, ':'); colon >= 0 {
		if h, _, err := net.SplitHostPort(string(host)); err == nil { // no copy is kept, so none is made
			if len(h) < len(host) && host[0] == '[' {
				host = host[1 : 1+len(h)]
			} else {
				host = host[:len(h)]
			}
		}
	}
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	for i, c := range host {
		if 'A' <= c && c <= 'Z' {
			host = bytes.Clone(host)
			for j := i; j < len(host); j++ {
				if c := host[j]; 'A' <= c && c <= 'Z' {
					host[j] = c + 'a' - 'A'
				}
			}
			return host
		}
	}
	return host
}
