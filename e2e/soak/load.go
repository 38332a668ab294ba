// Package soak is the load that the balancer is proven with: clients that ask at a steady pace and check every byte of
// every reply, and wrk at a pace of its own. Its tests hold the balancer's process against a large table that changes all
// the time; package e2e uses the same load for deployments.
//
// The clients forgive nothing: a request is sent once, on a connection that they have or on a new one, and whatever
// is not the reply expected has failed. Clients that try again, as those of net/http do, would hide what this is about.
// Only what the protocol says was never begun (GOAWAY, RFC 9113 section 6.8) goes to another connection.
//
// It never starts or stops a balancer. All methods are safe for concurrent use; [Load.Stop] joins every goroutine.
// Start at [Start].
package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// timeLimit is how long one request may take before it has failed.
const timeLimit = 30 * time.Second

// keptFailures is how many failures are kept word for word.
const keptFailures = 20

// Question is one request and what makes its reply right.
type Question struct {
	Host  string
	Path  string
	Body  []byte // not nil: it is a POST
	Chunk int    // not 0: the body goes in chunks of so many bytes, without a length
	Check func(reply []byte) error
}

// Clients is a number of clients that ask alike.
type Clients struct {
	Name  string // in reports
	Kind  Kind
	Addr  string
	Count int
	Every time.Duration                  // between the beginnings of one client's requests
	Ask   func(rng *rand.Rand) *Question // it is called by several goroutines
}

// Load is clients at work.
type Load struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup
	groups []*group
	phase  atomic.Pointer[string]
}

type group struct {
	Clients
	mu     sync.Mutex
	phases map[string]*Tally
}

// Tally is what became of some requests.
type Tally struct {
	Requests  int
	Failed    int
	Failures  []string        // the first, a sentence each
	latencies []time.Duration // from when a request was due to its reply's last byte
}

// Start begins. The first phase has no name.
func Start(all ...Clients) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel}
	l.Phase("")
	for _, c := range all {
		g := &group{Clients: c, phases: map[string]*Tally{}}
		l.groups = append(l.groups, g)
		for i := range c.Count {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(len(l.groups))))
			l.ended.Go(func() { g.run(ctx, l, rng) })
		}
	}
	return l
}

// Phase gives what comes from now on a name to be told apart by. Names may come back.
func (l *Load) Phase(name string) { l.phase.Store(&name) }

// Stop ends the load: no request is begun any more, and those that were are ended.
func (l *Load) Stop() {
	l.cancel()
	l.ended.Wait()
}

// run asks when a request is due. A request that lasts longer than the pause makes the next ones late, and their
// latency counts from when they were due: a standstill hits all requests that it kept from being sent.
func (g *group) run(ctx context.Context, l *Load, rng *rand.Rand) {
	asker := newAsker(g.Kind, g.Addr)
	defer asker.close()
	due := time.Now().Add(rand.N(g.Every))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		phase := *l.phase.Load()
		q := g.Ask(rng)
		reply, err := asker.ask(q)
		if err == nil {
			err = q.Check(reply)
		}
		g.note(phase, due, q, err)
		due = due.Add(g.Every)
		timer.Reset(time.Until(due))
	}
}

func (g *group) note(phase string, due time.Time, q *Question, err error) {
	took := time.Since(due)
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.phases[phase]
	if t == nil {
		t = &Tally{}
		g.phases[phase] = t
	}
	t.Requests++
	t.latencies = append(t.latencies, took)
	if err == nil {
		return
	}
	if t.Failed++; len(t.Failures) < keptFailures {
		t.Failures = append(t.Failures, fmt.Sprintf("%s: %s %s%s (%d bytes sent) after %v: %v", time.Now().Format("15:04:05.000"), g.Name, q.Host,
			q.Path, len(q.Body), took.Round(time.Millisecond/10), err))
	}
}

// Sum gives what became of the requests of a phase, of all clients with a name; "" stands for all names.
func (l *Load) Sum(phase, name string) Tally {
	var sum Tally
	for _, g := range l.groups {
		if name == "" || name == g.Name {
			g.mu.Lock()
			if t := g.phases[phase]; t != nil {
				sum = sum.Plus(*t)
			}
			g.mu.Unlock()
		}
	}
	return sum
}

// Total gives what became of all requests.
func (l *Load) Total() Tally {
	var sum Tally
	for _, g := range l.groups {
		g.mu.Lock()
		for _, t := range g.phases {
			sum = sum.Plus(*t)
		}
		g.mu.Unlock()
	}
	return sum
}

// Names gives the names of the clients in the order they were started in.
func (l *Load) Names() []string {
	var out []string
	for _, g := range l.groups {
		if !slices.Contains(out, g.Name) {
			out = append(out, g.Name)
		}
	}
	return out
}

// Plus adds two tallies up.
func (t Tally) Plus(o Tally) Tally {
	return Tally{
		Requests: t.Requests + o.Requests, Failed: t.Failed + o.Failed, Failures: slices.Concat(t.Failures, o.Failures),
		latencies: slices.Concat(t.latencies, o.latencies),
	}
}

// Percentile gives the latency that so many of a hundred requests did not exceed.
func (t Tally) Percentile(of float64) time.Duration {
	if len(t.latencies) == 0 {
		return 0
	}
	all := slices.Clone(t.latencies)
	slices.Sort(all)
	return all[min(len(all)-1, int(float64(len(all))*of/100))]
}
