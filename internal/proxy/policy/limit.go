package policy

import (
	"hash/maphash"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

// limit is a route's rate limit.
type limit struct {
	rate *rate
	by   byWhom
	name fieldName // of the header, where by is byHeader
}

type byWhom uint8

const (
	byClient byWhom = iota
	byRoute
	byHeader
)

const (
	maxRate     = 1_000_000_000
	maxRatePer  = 30 * 24 * time.Hour
	maxRateFill = 365 * 24 * time.Hour // until a used-up burst is there again
)

func compileLimit(l *api.RateLimit) (*limit, error) {
	if l == nil {
		return nil, nil // no limit is no error
	}
	per, burst := l.Per.Std(), l.Burst
	if per == 0 {
		per = time.Second
	}
	if burst == 0 {
		burst = l.Requests
	}
	switch {
	case l.Requests < 1 || l.Requests > maxRate:
		return nil, api.FieldError("rateLimit.requests", strconv.Itoa(l.Requests), "1 to "+strconv.Itoa(maxRate))
	case per < 0 || per > maxRatePer:
		return nil, api.FieldError("rateLimit.per", l.Per.String(), "a duration of 0 to "+maxRatePer.String())
	case burst < 0 || burst > maxRate:
		return nil, api.FieldError("rateLimit.burst", strconv.Itoa(l.Burst), "0 to "+strconv.Itoa(maxRate))
	}
	n := &limit{}
	name, isHeader := strings.CutPrefix(l.By, "header:")
	switch {
	case l.By == "" || l.By == "client":
	case l.By == "route":
		n.by = byRoute
	case isHeader && token(name):
		n.by, n.name = byHeader, nameOf(name)
	default:
		return nil, api.FieldError("rateLimit.by", l.By, "client, route, or header:NAME")
	}
	interval := (per + time.Duration(l.Requests) - 1) / time.Duration(l.Requests)
	if int64(interval) > math.MaxInt64/int64(burst) || interval*time.Duration(burst) > maxRateFill {
		return nil, api.FieldError("rateLimit.burst", strconv.Itoa(burst), "fewer requests than the rate gives back in a year")
	}
	n.rate = newRate(interval, burst)
	return n, nil
}

// answer counts the request, or gives the answer that refuses it.
func (l *limit) answer(r *http1.Request, c Client, now time.Time) *Answer {
	wait := l.rate.take(l.key(r, c), now)
	if wait <= 0 {
		return nil
	}
	return textAnswer(http.StatusTooManyRequests, retryAfter(wait))
}

// key tells whose requests are counted together. Who sends no such header is counted by address, so that leaving it
// out helps nobody and harms no one else.
func (l *limit) key(r *http1.Request, c Client) uint64 {
	switch l.by {
	case byRoute:
		return 0
	case byHeader:
		for i := range r.Fields {
			if f := &r.Fields[i]; l.name.of(f) {
				return maphash.Bytes(l.rate.seed, f.Value)
			}
		}
	}
	return l.rate.client(c.Addr)
}

const (
	shards      = 16
	shardKeys   = 4096 // in each half of a shard: at most 131072 keys a rate
	minRateLife = 10 * time.Second
)

// rate is how many times something may be done, for each of many keys: at once burst times, and again after each
// interval. It is the generic cell rate algorithm (ITU-T I.371, annex A): all that is kept of a key is the time at which
// it will have its whole burst again. So no key is ever let through more than burst + t/interval times in any time t,
// as long as not so many keys are in use that some are forgotten.
//
// Keys are keyed hashes: nobody outside can make two fall together.
type rate struct {
	interval int64 // nanoseconds
	burst    int64 // nanoseconds: as many intervals as may be taken at once
	seed     maphash.Seed
	since    time.Time // what times are counted from: a monotonic clock has no other zero
	shards   [shards]shard
}

type shard struct {
	mu    sync.Mutex
	whole recent[uint64, int64] // key → when its burst is whole again
	_     [40]byte              // two shards do not share a line of the processor's cache
}

func newRate(interval time.Duration, burst int) *rate {
	r := &rate{
		interval: int64(interval), burst: int64(interval) * int64(burst),
		seed: maphash.MakeSeed(), since: time.Now(),
	}
	for i := range r.shards {
		r.shards[i].whole = recent[uint64, int64]{most: shardKeys, life: max(r.burst, int64(minRateLife))}
	}
	return r
}

// client gives the key of a client: its address, of an IPv6 address the first 64 bits, as everyone who has one of the
// others has all of them.
func (r *rate) client(a netip.Addr) uint64 {
	a = a.Unmap()
	b := a.As16()
	if a.Is6() {
		return maphash.Bytes(r.seed, b[:8])
	}
	return maphash.Bytes(r.seed, b[:])
}

// take does it once, or gives how long it must not be done.
func (r *rate) take(key uint64, now time.Time) (wait time.Duration) {
	at := int64(now.Sub(r.since))
	s := &r.shards[key%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, ok := s.whole.get(key, at)
	if !ok || whole < at {
		whole = at
	}
	whole += r.interval
	if wait := whole - at - r.burst; wait > 0 {
		return time.Duration(wait)
	}
	s.whole.put(key, whole, at)
	return 0
}

// refund undoes a take.
func (r *rate) refund(key uint64, now time.Time) {
	at := int64(now.Sub(r.since))
	s := &r.shards[key%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if whole, ok := s.whole.get(key, at); ok {
		s.whole.put(key, whole-r.interval, at)
	}
}
