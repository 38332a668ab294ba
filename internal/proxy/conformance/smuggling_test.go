package conformance

import (
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ikada/ikada/internal/proxy"
)

var update = flag.Bool("update", false, "write what nginx and HAProxy make of the corpus into testdata")

// newEntrance is a balancer of its own, with a recorder behind it. dir is where its certificates are, and roots trust
// them; "" and nil for no TLS.
func newEntrance(t *testing.T, dir string, roots *x509.CertPool) *entrance {
	t.Helper()
	task := newRecorder(t)
	cfg := proxy.Config{HTTP: "127.0.0.1:0", HeadTimeout: 2 * time.Second, Grace: 100 * time.Millisecond}
	if dir != "" {
		cfg.HTTPS, cfg.Certs = "127.0.0.1:0", dir
	}
	p, stop := start(t, cfg, task.addr)
	addr := p.HTTPAddr().String()
	if dir != "" {
		addr = p.HTTPSAddr().String()
	}
	return &entrance{name: "ikada", h1: addr, h2: addr, task: task, stop: stop, roots: roots}
}

// TestSmugglingInPieces sends the corpus byte by byte, so that nothing that must be read together comes together: the
// same must become of it.
func TestSmugglingInPieces(t *testing.T) {
	t.Parallel()
	for _, a := range corpus(t) {
		if a.h2 {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			e := newEntrance(t, "", nil)
			e.piece = 1
			check(t, a, e.play(t, a))
		})
	}
}

// TestSmugglingTLS sends the corpus through the HTTPS port: the same must become of it.
func TestSmugglingTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	roots := certify(t, dir)
	for _, a := range corpus(t) {
		for i, f := range a.sees {
			if f.name == "X-Forwarded-Proto" {
				a.sees[i].value = "https"
			}
		}
		for i, f := range a.fields {
			if f == (field{":scheme", "http"}) {
				a.fields[i].value = "https"
			}
		}
		t.Run(a.name, func(t *testing.T) { check(t, a, newEntrance(t, dir, roots).play(t, a)) })
	}
}

// TestSmuggling sends each message of the corpus to the balancer, and the same bytes to nginx and HAProxy, each with a
// recorder behind it, and holds the balancer to what the case says. A table shows where the three differ.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	attacks := corpus(t)
	all := peers()
	theirs := make([]verdicts, len(all))
	var running sync.WaitGroup
	for i, p := range all {
		recorded := readWritten(t, p.program)
		e := p.run(t)
		if e == nil {
			t.Logf("%s is not installed: what %s made of the corpus is taken from testdata", p.program, recorded.release)
			theirs[i] = recorded.first()
			continue
		}
		running.Go(func() {
			theirs[i] = verdicts{}
			for _, a := range attacks {
				theirs[i][a.name] = e.play(t, a).verdict()
			}
		})
		t.Cleanup(func() { recorded.compare(t, p, attacks, theirs[i]) })
	}
	ours := verdicts{}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			o := newEntrance(t, "", nil).play(t, a)
			ours[a.name] = o.verdict()
			check(t, a, o)
		})
	}
	running.Wait()
	for _, a := range attacks {
		nginx, haproxy := theirs[0][a.name], theirs[1][a.name]
		agreed := a.must == "accept" && nginx.requests == haproxy.requests && nginx.requests != ""
		if o := ours[a.name]; agreed && o.requests != nginx.requests && o.requests != listed(a.or) {
			t.Errorf("%s: nginx and HAProxy both make %s of it, the balancer %s", a.name, nginx, o)
		}
	}
	t.Logf("%d cases\n%s", len(attacks), differences(attacks, ours, theirs[0], theirs[1]))
}

// check holds the balancer to a case.
func check(t *testing.T, a attack, o outcome) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s\nit became: %s, answered with %v", fmt.Sprintf(format, args...), o.verdict(), o.answers)
	}
	whole := o.whole()
	for _, g := range o.seen {
		for _, fault := range g.faults {
			fail("the task gets what can be read in two ways: %s", fault)
		}
	}
	if !begins(a.means, whole) && !begins(a.or, whole) {
		fail("the task gets other requests than %v\n(%s)", a.means, a.why)
	}
	saw := 0
	for _, r := range o.answers {
		if r.saw == "" {
			continue
		}
		if saw == len(whole) || r.saw != whole[saw].method+" "+whole[saw].target {
			fail("the answer to %q comes in another's place", r.saw)
			break
		}
		saw++
	}
	switch a.must {
	case "accept":
		if len(whole) != len(a.means) || saw != len(a.means) || len(o.answers) != saw {
			fail("it is not taken for %v\n(%s)", a.means, a.why)
		} else if !o.served && !a.closes {
			fail("the connection does not go on")
		}
	case "refuse":
		own := slices.ContainsFunc(o.answers, func(r reply) bool { return r.saw == "" })
		if len(whole) != len(a.means) || o.served && !a.h2 || own && o.answers[len(o.answers)-1].status/100 == 2 {
			fail("it is not refused\n(%s)", a.why)
		}
	}
	if len(o.seen) > 0 {
		checkFields(t, a, o.seen[0])
	}
}

// begins tells whether all begins with first.
func begins(all, first []request) bool {
	return len(first) <= len(all) && slices.Equal(first, all[:len(first)])
}

func checkFields(t *testing.T, a attack, g *record) {
	t.Helper()
	for _, want := range a.sees {
		var got []string
		for _, f := range g.fields {
			if strings.EqualFold(f.name, want.name) {
				got = append(got, f.value)
			}
		}
		if !slices.Equal(got, []string{want.value}) {
			t.Errorf("the task gets %s: %q, want %q", want.name, got, want.value)
		}
	}
	for _, name := range a.lacks {
		for _, f := range g.fields {
			if strings.EqualFold(f.name, name) {
				t.Errorf("the task gets %s: %q", f.name, f.value)
			}
		}
	}
}

// whole gives the requests that reached the task to their end.
func (o outcome) whole() []request {
	var all []request
	for _, g := range o.seen {
		if g.whole {
			all = append(all, g.request)
		}
	}
	return all
}

// verdict is what a proxy made of an attack, to be compared and written down.
type verdict struct {
	requests string // that reached the task to their end; "" for none
	faults   string // what made them ambiguous
	served   bool   // the connection went on
}

// verdicts are those of one proxy, by the attack's name.
type verdicts map[string]verdict

func (o outcome) verdict() verdict {
	v := verdict{served: o.served}
	var faults []string
	for _, g := range o.seen {
		if g.whole {
			faults = append(faults, g.faults...)
		}
	}
	v.requests, v.faults = listed(o.whole()), strings.Join(faults, "; ")
	return v
}

// listed gives the requests in a line; of many the first few.
func listed(requests []request) string {
	var all []string
	for _, r := range requests {
		all = append(all, r.String())
	}
	if len(all) > 5 {
		all = append(all[:4], fmt.Sprintf("%d more", len(all)-4))
	}
	return strings.Join(all, " + ")
}

func (v verdict) String() string {
	s := v.requests
	if s == "" {
		s = "refused"
	}
	if v.faults != "" {
		s += " !" + v.faults
	}
	if v.requests != "" && !v.served {
		s += ", then closed"
	}
	return s
}

// differences is a table of the cases of which not all three make the same.
func differences(attacks []attack, ours, nginx, haproxy verdicts) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "case\tmust\tikada\tnginx\thaproxy")
	for _, a := range attacks {
		o, n, h := ours[a.name], nginx[a.name], haproxy[a.name]
		if o.requests != n.requests || o.requests != h.requests {
			fmt.Fprintf(w, "%s\t%s\t%.60s\t%.60s\t%.60s\n", a.name, a.must, o, n, h)
		}
	}
	_ = w.Flush() // to memory
	return b.String()
}

func recordedIn(program string) string { return "testdata/" + program + ".golden" }

// written is what is known of a peer: what it made of each attack, by the attack's name. It is more than one thing
// where the peer passes a body on while it still reads it.
type written struct {
	release string // such as "nginx 1.22.1"
	by      map[string][]verdict
}

// readWritten gives what the peer made of the corpus when that was written down.
func readWritten(t *testing.T, program string) written {
	t.Helper()
	all := written{by: map[string][]verdict{}}
	b, err := os.ReadFile(recordedIn(program))
	if os.IsNotExist(err) && *update {
		return all
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	all.release = lines[0]
	for _, line := range lines[1:] {
		parts := strings.Split(line, "\t")
		if len(parts) != 4 {
			t.Fatalf("%s: line %q", recordedIn(program), line)
		}
		v := verdict{served: parts[1] == "goes on", requests: parts[2], faults: parts[3]}
		all.by[parts[0]] = append(all.by[parts[0]], v)
	}
	return all
}

// first gives one verdict for each attack.
func (w written) first() verdicts {
	all := verdicts{}
	for name, some := range w.by {
		all[name] = some[0]
	}
	return all
}

// compare tells what the peer that is installed makes of a message that is not written down, if it is the same release.
// It fails only where nothing is: what a peer makes of a body that it passes on while it still reads it is a matter of
// time. With -update it writes all that down, too.
func (w written) compare(t *testing.T, p peer, attacks []attack, now verdicts) {
	installed := p.program + " " + p.release(t)
	switch {
	case *update && installed != w.release:
		w = written{release: installed, by: map[string][]verdict{}}
	case installed != w.release:
		t.Logf("%s is installed, %s is written down", installed, w.release)
		return
	}
	text := installed + "\n"
	for _, a := range attacks {
		v := now[a.name]
		known := slices.ContainsFunc(w.by[a.name], func(old verdict) bool { return old.requests == v.requests })
		switch {
		case known || *update:
		case len(w.by[a.name]) == 0:
			t.Errorf("%s: nothing is written down for %s: run with -update", a.name, p.program)
		default:
			t.Logf("%s: %s makes %s of it, written down is %v", a.name, p.program, v, w.by[a.name])
		}
		if !known {
			w.by[a.name] = append(w.by[a.name], v)
		}
		for _, v := range w.by[a.name] {
			state := "closed"
			if v.served {
				state = "goes on"
			}
			text += strings.Join([]string{a.name, state, v.requests, v.faults}, "\t") + "\n"
		}
	}
	if *update {
		if err := os.WriteFile(recordedIn(p.program), []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}
