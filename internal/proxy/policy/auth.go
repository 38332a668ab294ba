package policy

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

const (
	maxBcryptCost  = 14   // about a second; each step doubles it
	maxCredentials = 1024 // bytes of user and password in base64

	checksAtOnce  = 2  // bcrypt checks of one guard; the rest of the processor is for requests
	checksWaiting = 32 // those that wait for one of these, at most

	verifiedLife = 5 * time.Minute
	refusedLife  = 30 * time.Second
	mostVerified = 1024
	mostRefused  = 1024

	// Checks that a client may cause: so many at once, and one again after each interval. One that succeeds is free.
	attempts        = 10
	attemptInterval = 3 * time.Second
)

// guard asks for a user and a password (RFC 7617).
//
// A bcrypt check costs tens of milliseconds of processor time on purpose, so it must neither come with each request nor
// be had for the asking: what a check found is remembered for a while under a keyed hash of user and password, no more
// than a few run at once, and a client that keeps being wrong has to wait.
type guard struct {
	users  map[string][]byte // bcrypt hashes
	anyone []byte            // the costliest of them: an unknown user takes as long as a known one
	key    [32]byte          // of the hashes by which checks are remembered

	attempts *rate
	slots    chan struct{}
	waiting  atomic.Int32

	mu       sync.Mutex
	since    time.Time
	verified recent[[32]byte, struct{}]
	refused  recent[[32]byte, struct{}] // apart, so that wrong guesses push out no verified user

	challenge, busy *Answer
}

// compileGuard checks users and hashes; as a password may stand in a wrong place, an error does not repeat them. It is
// nil when there are no users.
func compileGuard(users map[string]string) (*guard, error) {
	if len(users) == 0 {
		return nil, nil // no guard is no error
	}
	shape := regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)
	g := &guard{
		users:     make(map[string][]byte, len(users)),
		attempts:  newRate(attemptInterval, attempts),
		slots:     make(chan struct{}, checksAtOnce),
		since:     time.Now(),
		verified:  recent[[32]byte, struct{}]{most: mostVerified, life: int64(verifiedLife)},
		refused:   recent[[32]byte, struct{}]{most: mostRefused, life: int64(refusedLife)},
		challenge: textAnswer(http.StatusUnauthorized, [2]string{"WWW-Authenticate", `Basic realm="Restricted", charset="UTF-8"`}),
		busy:      textAnswer(http.StatusServiceUnavailable, retryAfter(time.Second)),
	}
	_, _ = rand.Read(g.key[:]) // it never fails: crypto/rand ends the program instead
	costliest := 0
	for _, user := range slices.Sorted(maps.Keys(users)) {
		if user == "" || !fieldValue(user) || strings.Contains(user, ":") {
			return nil, api.FieldError("basicAuth", "", "users' names without ':' and control characters")
		}
		hash := users[user]
		m := shape.FindStringSubmatch(hash)
		if m == nil {
			return nil, api.FieldError("basicAuth."+user, "", "a bcrypt hash, such as htpasswd -nB makes")
		}
		cost, err := strconv.Atoi(m[1])
		if err != nil || cost < bcrypt.MinCost || cost > maxBcryptCost {
			return nil, api.FieldError("basicAuth."+user, "", "a bcrypt hash of a cost from "+
				strconv.Itoa(bcrypt.MinCost)+" to "+strconv.Itoa(maxBcryptCost))
		}
		g.users[user] = []byte(hash)
		if cost > costliest {
			costliest, g.anyone = cost, []byte(hash)
		}
	}
	return g, nil
}

// answer gives nil to who has named a user and the user's password.
func (g *guard) answer(r *http1.Request, c Client, now time.Time) *Answer {
	var buf [maxCredentials]byte
	credentials, ok := basicCredentials(buf[:0], r.Fields)
	if !ok {
		return g.challenge
	}
	id := g.identify(credentials)
	if known, good := g.recall(id, now); known {
		return g.verdict(good)
	}
	client := g.attempts.client(c.Addr)
	if wait := g.attempts.take(client, now); wait > 0 {
		return textAnswer(http.StatusTooManyRequests, retryAfter(wait))
	}
	if g.waiting.Add(1) > checksWaiting {
		g.waiting.Add(-1)
		g.attempts.refund(client, now)
		return g.busy
	}
	g.slots <- struct{}{} // it is not long: all before it are checks, and their number and cost are bounded
	g.waiting.Add(-1)
	defer func() { <-g.slots }()

	known, good := g.recall(id, now) // a browser sends the first requests of a page at once
	if !known {
		good = g.check(credentials)
		g.remember(id, good, now)
	}
	if good {
		g.attempts.refund(client, now)
	}
	return g.verdict(good)
}

func (g *guard) verdict(good bool) *Answer {
	if good {
		return nil
	}
	return g.challenge
}

// check compares a password with the user's hash, in a time that does not depend on either.
func (g *guard) check(credentials []byte) bool {
	user, password, _ := bytes.Cut(credentials, []byte{':'})
	hash, known := g.users[string(user)]
	if !known {
		hash = g.anyone
	}
	return bcrypt.CompareHashAndPassword(hash, password) == nil && known
}

// identify gives what user and password are remembered by. The key is secret and the result never leaves the process,
// so a hash of both in a row will do, and a map that is indexed by it tells nobody anything by its timing.
func (g *guard) identify(credentials []byte) [32]byte {
	var buf [len(g.key) + maxCredentials]byte
	return sha256.Sum256(append(append(buf[:0], g.key[:]...), credentials...))
}

func (g *guard) recall(id [32]byte, now time.Time) (known, good bool) {
	at := int64(now.Sub(g.since))
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, good = g.verified.get(id, at); good {
		return true, true
	}
	_, known = g.refused.get(id, at)
	return known, false
}

func (g *guard) remember(id [32]byte, good bool, now time.Time) {
	at := int64(now.Sub(g.since))
	g.mu.Lock()
	defer g.mu.Unlock()
	if good {
		g.verified.put(id, struct{}{}, at)
	} else {
		g.refused.put(id, struct{}{}, at)
	}
}

// basicCredentials appends "user:password" to dst from the request's one Authorization field. Two are none: who knows
// which of them the target would read.
func basicCredentials(dst []byte, fields []http1.Field) (credentials []byte, ok bool) {
	var value []byte
	for i := range fields {
		if fields[i].Kind == http1.Authorization {
			if value != nil {
				return nil, false
			}
			value = fields[i].Value
		}
	}
	const scheme = "Basic "
	if len(value) <= len(scheme) || len(value) > maxCredentials || !bytes.EqualFold(value[:len(scheme)], []byte(scheme)) {
		return nil, false
	}
	encoded := bytes.TrimLeft(value[len(scheme):], " ")
	credentials, err := base64.StdEncoding.AppendDecode(dst, encoded)
	if err != nil || bytes.IndexByte(credentials, ':') < 0 {
		return nil, false
	}
	return credentials, true
}
