package proxy

import (
	"net"
	"strings"

	"github.com/ikada/ikada/api"
)

// routes finds a pool by host and path: exact hosts before wildcards, longer wildcards before shorter, those before
// routes for any host; within a host the longest path prefix. A host whose paths do not match leaves the request to
// the less exact ones.
type routes struct {
	exact map[string]*paths
	wild  map[string]*paths // by what follows the "*", such as ".example.com"
	any   *paths
}

// paths is the prefixes of one host, without the slash at their end.
type paths struct {
	pools   map[string]*pool
	longest int // bytes; bounds the work that a path of a hostile request can cause
}

// maxHost is the length of the longest name in DNS (RFC 1035); no wildcard is tried for a longer one.
const maxHost = 253

func compileRoutes(list []api.Route, pools map[string]*pool) routes {
	r := routes{exact: map[string]*paths{}, wild: map[string]*paths{}}
	for _, route := range list {
		p := pools[route.Pool]
		if p == nil {
			continue
		}
		host := cleanHost(route.Host)
		switch {
		case host == "" || host == "*":
			if r.any == nil {
				r.any = &paths{}
			}
			r.any.add(route.Path, p)
		case strings.HasPrefix(host, "*."):
			if r.wild[host[1:]] == nil {
				r.wild[host[1:]] = &paths{}
			}
			r.wild[host[1:]].add(route.Path, p)
		default:
			if r.exact[host] == nil {
				r.exact[host] = &paths{}
			}
			r.exact[host].add(route.Path, p)
		}
	}
	return r
}

func (s *paths) add(prefix string, p *pool) {
	prefix = strings.TrimRight(prefix, "/")
	if s.pools == nil {
		s.pools = map[string]*pool{}
	}
	if s.pools[prefix] == nil { // of two equal routes the first holds
		s.pools[prefix] = p
	}
	s.longest = max(s.longest, len(prefix))
}

// find gives the pool for a request, nil when no route matches. host is as the client wrote it, with or without a
// port; path is decoded.
func (r *routes) find(host, path string) *pool {
	host = cleanHost(host)
	if p := r.exact[host].find(path); p != nil {
		return p
	}
	if len(r.wild) > 0 && len(host) <= maxHost {
		for rest := host; ; {
			dot := strings.IndexByte(rest, '.')
			if dot < 0 {
				break
			}
			if dot > 0 || len(rest) < len(host) { // "*" stands for at least one character
				if p := r.wild[rest[dot:]].find(path); p != nil {
					return p
				}
			}
			rest = rest[dot+1:]
		}
	}
	return r.any.find(path)
}

func (s *paths) find(path string) *pool {
	if s == nil {
		return nil
	}
	// Only a prefix that ends where a segment of the path ends can match.
	end := len(path)
	if end > s.longest {
		end = s.longest
		if path[end] != '/' {
			end = strings.LastIndexByte(path[:end], '/')
		}
	}
	for end >= 0 {
		if p := s.pools[path[:end]]; p != nil {
			return p
		}
		end = strings.LastIndexByte(path[:end], '/')
	}
	return s.pools[""]
}

// cleanHost gives the name in lower case, without a port, a closing dot or the brackets of an IPv6 address.
func cleanHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
