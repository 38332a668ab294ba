package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

const (
	defaultCookie = "ikada_task"
	keyBytes      = 12 // of the hash; no two of a service's tasks will share them
	keyLength     = 2 * keyBytes
)

func (p *Policy) compileSticky(*Policy) error {
	s := p.spec.Sticky
	switch {
	case s == nil:
		return nil
	case s.Cookie != "" && !token(s.Cookie):
		return api.FieldError("sticky.cookie", s.Cookie, "a cookie's name of letters, digits, '-' and '_'")
	case s.MaxAge < 0:
		return api.FieldError("sticky.maxAge", s.MaxAge.String(), "a duration of 0 or more")
	}
	if p.cookie = s.Cookie; p.cookie == "" {
		p.cookie = defaultCookie
	}
	return nil
}

// TaskKey gives the value that stands for a task in a sticky cookie: a hash, so that a client learns nothing of the
// task's name, which every balancer computes alike. It is 24 hexadecimal digits.
func TaskKey(task string) string {
	sum := sha256.Sum256([]byte("ikada sticky task\x00" + task))
	return hex.EncodeToString(sum[:keyBytes])
}

// Sticks tells whether the route keeps clients with their task.
func (p *Policy) Sticks() bool { return p.cookie != "" }

// StickyTask gives the TaskKey that the request's cookie holds, "" when it has none of the right form. Of several
// cookies of the name the first counts, which is that of the longest path (RFC 6265, section 5.4).
func (p *Policy) StickyTask(r *http1.Request) string {
	if p.cookie == "" {
		return ""
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; f.Kind == http1.Cookie {
			if key := findKey(f.Value, p.cookie); key != nil {
				return string(key)
			}
		}
	}
	return ""
}

// findKey finds the cookie that holds a task's key in the value of a Cookie field; nil when none does.
func findKey(list []byte, name string) []byte {
	for v := range cookies(list, name) {
		if taskKey(v) {
			return v
		}
	}
	return nil
}

func taskKey(v []byte) bool {
	for _, c := range v {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(v) == keyLength
}

// StickyCookie gives the value of the Set-Cookie field that keeps a client with a task, "" when the route is not
// sticky. It is to be sent when a request went to another task than its cookie names. tls is whether the client's
// connection is encrypted. The cookie is for the whole host: two services on one host need names of their own.
func (p *Policy) StickyCookie(task string, tls bool) string {
	if p.cookie == "" {
		return ""
	}
	v := p.cookie + "=" + TaskKey(task) + "; Path=/"
	if age := p.spec.Sticky.MaxAge.Std(); age > 0 {
		v += "; Max-Age=" + strconv.FormatInt(int64(max(1, age/time.Second)), 10)
	}
	v += "; HttpOnly; SameSite=Lax"
	if tls {
		v += "; Secure"
	}
	return v
}
