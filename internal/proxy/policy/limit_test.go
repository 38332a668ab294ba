package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
)

func limited(t testing.TB, l api.RateLimit) *Policy {
	t.Helper()
	return compile(t, "/", api.RoutePolicy{RateLimit: &l}, nil)
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := limited(t, api.RateLimit{Requests: 10, Burst: 3})
		r, c := request(t, "GET /"), from("192.0.2.1")
		let := func(want bool) {
			t.Helper()
			if a := p.Admit(r, c, time.Now()); (a == nil) != want {
				t.Errorf("at %v: %+v", time.Now(), a)
			}
		}
		let(true)
		let(true)
		let(true)
		let(false)
		time.Sleep(99 * time.Millisecond)
		let(false) // and what is refused is not counted
		time.Sleep(time.Millisecond)
		let(true)
		let(false)
		time.Sleep(time.Hour) // gives back no more than the burst
		for range 3 {
			let(true)
		}
		let(false)
	})
}

// TestRetryAfterIsHonest waits as it is told and is let through at the first try.
func TestRetryAfterIsHonest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, l := range []api.RateLimit{
			{Requests: 1, Per: api.Duration(time.Minute)},
			{Requests: 7, Per: api.Duration(time.Minute), Burst: 2},
			{Requests: 3},
			{Requests: 5, Per: api.Duration(24 * time.Hour), Burst: 1},
		} {
			p := limited(t, l)
			r, c := request(t, "GET /"), from("192.0.2.1")
			for range 50 {
				a := p.Admit(r, c, time.Now())
				if a == nil {
					continue
				}
				wait, err := strconv.Atoi(a.field("Retry-After"))
				if a.Status != 429 || err != nil || wait < 1 {
					t.Fatalf("%+v: %+v", l, a)
				}
				time.Sleep(time.Duration(wait) * time.Second)
				if a := p.Admit(r, c, time.Now()); a != nil {
					t.Fatalf("%+v: waited %d s and got %+v", l, wait, a)
				}
			}
		}
	})
}

// TestRateLimitNeverLetsMoreThrough holds the promise over random arrivals: in no stretch of time t do more than
// burst + rate·t get through. It also holds each decision against a bucket that is filled and emptied by the letter.
func TestRateLimitNeverLetsMoreThrough(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 200 {
		l := api.RateLimit{
			Requests: 1 + random.IntN(1000), Per: api.Duration(1 + random.Int64N(int64(time.Minute))), Burst: random.IntN(50),
		}
		p := limited(t, l)
		burst := l.Burst
		if burst == 0 {
			burst = l.Requests
		}
		interval := float64(l.Per) / float64(l.Requests)
		r, c, start := request(t, "GET /"), from("192.0.2.1"), time.Now()
		var let []time.Duration
		var at time.Duration
		token := (l.Per.Std() + time.Duration(l.Requests) - 1) / time.Duration(l.Requests)
		full := token * time.Duration(burst)
		for level := full; len(let) < 1000; {
			pause := time.Duration(random.ExpFloat64() * interval * float64(1+round%4) / 2)
			at += pause
			level = min(full, level+pause)
			want := level >= token
			if want {
				level -= token
				let = append(let, at)
			}
			if a := p.Admit(r, c, start.Add(at)); (a == nil) != want {
				t.Fatalf("%+v: at %v with %v in the bucket: %+v", l, at, level, a)
			}
		}
		for i := range let {
			for j := i; j < len(let); j += 1 + len(let)/100 {
				if most := float64(burst) + float64(let[j]-let[i])/interval; float64(j-i+1) > most+1e-6 {
					t.Fatalf("%+v: %d in %v, at most %.2f", l, j-i+1, let[j]-let[i], most)
				}
			}
		}
	}
}

func TestRateLimitBy(t *testing.T) {
	type ask struct {
		addr, field string
		let         bool
	}
	for _, c := range []struct {
		by   string
		asks []ask
	}{
		{"", []ask{{"192.0.2.1", "", true}, {"192.0.2.1", "", false}, {"192.0.2.2", "", true}}},
		{"client", []ask{
			{"2001:db8::1", "", true}, {"2001:db8::2", "", false}, {"2001:db8::ffff:0:0:1", "", false}, {"2001:db8:0:1::1", "", true},
			{"192.0.2.1", "", true}, {"::ffff:192.0.2.1", "", false},
		}},
		{"route", []ask{{"192.0.2.1", "", true}, {"192.0.2.2", "", false}, {"2001:db8::1", "", false}}},
		{"header:X-Key", []ask{
			{"192.0.2.1", "x-key: a", true}, {"192.0.2.2", "X-Key: a", false}, {"192.0.2.2", "X-Key: b", true},
			{"192.0.2.1", "X-Other: a", true}, {"192.0.2.1", "X-Other: b", false}, {"192.0.2.3", "X-Other: b", true},
		}},
		{"header:authorization", []ask{{"192.0.2.1", "Authorization: a", true}, {"192.0.2.2", "Authorization: a", false}}},
	} {
		p := limited(t, api.RateLimit{Requests: 1, Per: api.Duration(time.Hour), By: c.by})
		now := time.Now()
		for i, a := range c.asks {
			r := request(t, "GET /")
			if a.field != "" {
				r = request(t, "GET /", a.field)
			}
			if got := p.Admit(r, from(a.addr), now); (got == nil) != a.let {
				t.Errorf("by %q, request %d: %+v", c.by, i, got)
			}
		}
	}
}

// TestRateLimitHoldsAcrossTables swaps the table at each request.
func TestRateLimitHoldsAcrossTables(t *testing.T) {
	policy := func(timeout time.Duration) api.RoutePolicy {
		return api.RoutePolicy{RateLimit: &api.RateLimit{Requests: 5, Per: api.Duration(time.Hour)}, Timeout: api.Duration(timeout)}
	}
	var p *Policy
	let, now := 0, time.Now()
	for i := range 20 {
		p = compile(t, "/", policy(time.Duration(i/5)), p) // changed at times, but not in the limit
		if p.Admit(request(t, "GET /"), from("192.0.2.1"), now) == nil {
			let++
		}
	}
	if let != 5 {
		t.Errorf("%d were let through, not 5", let)
	}
	n := policy(0)
	n.RateLimit.Requests = 6
	if p = compile(t, "/", n, p); p.Admit(request(t, "GET /"), from("192.0.2.1"), now) != nil {
		t.Error("a new limit does not begin anew")
	}
}

// TestRateLimitMemory has more clients than are remembered: memory stays bounded, and who keeps asking stays limited.
func TestRateLimitMemory(t *testing.T) {
	p := limited(t, api.RateLimit{Requests: 1, Per: api.Duration(24 * time.Hour)})
	r, now, let := request(t, "GET /"), time.Now(), 0
	for i := range 4 * shards * shardKeys {
		a := [16]byte{0x20, 1, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
		p.Admit(r, Client{Addr: netip.AddrFrom16(a)}, now)
		if i%10_000 == 0 && p.Admit(r, from("192.0.2.1"), now) == nil {
			let++
		}
	}
	if let != 1 {
		t.Errorf("the client that keeps asking was let through %d times", let)
	}
	held := 0
	for i := range p.limit.rate.shards {
		s := &p.limit.rate.shards[i].whole
		held += len(s.young) + len(s.old)
	}
	if held > 2*shards*shardKeys {
		t.Errorf("%d clients are remembered", held)
	}
}

func TestRateLimitInParallel(t *testing.T) {
	p := limited(t, api.RateLimit{Requests: 100, Per: api.Duration(time.Hour)})
	r, now := request(t, "GET /"), time.Now()
	var let atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if p.Admit(r, from("192.0.2.1"), now) == nil {
					let.Add(1)
				}
			}
		})
	}
	all.Wait()
	if let.Load() != 100 {
		t.Errorf("%d of 800 were let through, not 100", let.Load())
	}
}

func TestRateLimitSpecs(t *testing.T) {
	for _, c := range []struct {
		l  api.RateLimit
		ok bool
	}{
		{api.RateLimit{Requests: 1}, true},
		{api.RateLimit{Requests: 1_000_000, Burst: 1_000_000, Per: api.Duration(time.Millisecond)}, true},
		{api.RateLimit{Requests: 1, Per: api.Duration(24 * time.Hour), Burst: 300}, true},
		{api.RateLimit{Requests: 1, Per: api.Duration(24 * time.Hour), Burst: 1_000_000}, false}, // 2700 years
		{api.RateLimit{}, false},
		{api.RateLimit{Requests: -1}, false},
		{api.RateLimit{Requests: 1, Burst: -1}, false},
		{api.RateLimit{Requests: 1, Per: -1}, false},
		{api.RateLimit{Requests: 1, By: "user"}, false},
		{api.RateLimit{Requests: 1, By: "header:"}, false},
		{api.RateLimit{Requests: 1, By: "header:a b"}, false},
	} {
		_, err := Compile("/", api.RoutePolicy{RateLimit: &c.l}, nil)
		if (err == nil) != c.ok || err != nil && !api.IsKind(err, api.Invalid) {
			t.Errorf("%+v: %v", c.l, err)
		}
	}
}

func BenchmarkRateLimit(b *testing.B) {
	for _, by := range []string{"client", "route", "header:X-Key"} {
		b.Run(fmt.Sprintf("by %.6s", by), func(b *testing.B) {
			p := limited(b, api.RateLimit{Requests: 1_000_000_000, By: by})
			r, c, now := request(b, "GET /", "Host: a", "X-Key: abcdefgh"), from("192.0.2.1"), time.Now()
			b.ReportAllocs()
			for b.Loop() {
				p.Admit(r, c, now)
			}
		})
	}
}
