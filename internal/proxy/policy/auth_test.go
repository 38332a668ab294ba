package policy

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/ikada/ikada/api"
)

// hash makes the cheapest hash that there is.
func hash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func guarded(t testing.TB, users map[string]string) *Policy {
	t.Helper()
	hashes := map[string]string{}
	for user, password := range users {
		hashes[user] = hash(t, password)
	}
	return compile(t, "/", api.RoutePolicy{BasicAuth: hashes}, nil)
}

func basic(credentials string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

func TestBasicAuth(t *testing.T) {
	p := guarded(t, map[string]string{"ann": "secret", "bob": "pass:word", "zoë": "pässword", "nil": ""})
	for i, c := range []struct {
		name   string
		fields []string
		ok     bool
	}{
		{"right", []string{basic("ann:secret")}, true},
		{"right again", []string{basic("ann:secret")}, true},
		{"password with a colon", []string{basic("bob:pass:word")}, true},
		{"not ASCII", []string{basic("zoë:pässword")}, true},
		{"empty password", []string{basic("nil:")}, true},
		{"scheme in capitals", []string{"authorization: BASIC " + base64.StdEncoding.EncodeToString([]byte("ann:secret"))}, true},
		{"two spaces", []string{"Authorization: Basic  " + base64.StdEncoding.EncodeToString([]byte("ann:secret"))}, true},

		{"none", nil, false},
		{"wrong password", []string{basic("ann:Secret")}, false},
		{"wrong password again", []string{basic("ann:Secret")}, false},
		{"no password", []string{basic("ann:")}, false},
		{"another's password", []string{basic("ann:pass:word")}, false},
		{"unknown user", []string{basic("eve:secret")}, false},
		{"user's case counts", []string{basic("Ann:secret")}, false},
		{"no colon", []string{basic("annsecret")}, false},
		{"empty", []string{"Authorization: "}, false},
		{"scheme only", []string{"Authorization: Basic"}, false},
		{"another scheme", []string{"Authorization: Bearer " + base64.StdEncoding.EncodeToString([]byte("ann:secret"))}, false},
		{"no base64", []string{"Authorization: Basic ann:secret"}, false},
		{"too long", []string{basic("ann:" + strings.Repeat("x", maxCredentials))}, false},
		{"two fields", []string{basic("ann:secret"), basic("bob:pass:word")}, false},
		{"in another field", []string{"X-" + basic("ann:secret")}, false},
	} {
		// Each comes from elsewhere, so that none has to wait.
		a := p.Admit(request(t, "GET /", c.fields...), from(fmt.Sprintf("192.0.2.%d", i)), time.Now())
		switch {
		case c.ok && a != nil:
			t.Errorf("%s: %+v", c.name, a)
		case !c.ok && (a.status() != 401 || !strings.HasPrefix(a.field("WWW-Authenticate"), "Basic realm=")):
			t.Errorf("%s: %+v", c.name, a)
		}
	}
}

// block takes all slots for checks, so that a request which needs one waits.
func (g *guard) block() {
	for range cap(g.slots) {
		g.slots <- struct{}{}
	}
}

func (g *guard) unblock() {
	for range cap(g.slots) {
		<-g.slots
	}
}

// TestCheckedOnce has no slot free for a check after the first: what was found is remembered.
func TestCheckedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := guarded(t, map[string]string{"ann": "secret"})
		c := from("192.0.2.1")
		right, wrong := request(t, "GET /", basic("ann:secret")), request(t, "GET /", basic("ann:wrong"))
		if a := p.Admit(right, c, time.Now()); a != nil {
			t.Fatalf("%+v", a)
		}
		if a := p.Admit(wrong, c, time.Now()); a.status() != 401 {
			t.Fatalf("%+v", a)
		}
		// The same users behind a new table are the same guard.
		p = compile(t, "/other", api.RoutePolicy{BasicAuth: p.spec.BasicAuth, Compress: true}, p)
		p.guard.block()
		for range 100 {
			if a := p.Admit(right, c, time.Now()); a != nil {
				t.Fatalf("%+v", a)
			}
			if a := p.Admit(wrong, c, time.Now()); a.status() != 401 {
				t.Fatalf("%+v", a)
			}
			time.Sleep(10 * time.Second) // who keeps coming is not checked again
		}
		p.guard.unblock()
		time.Sleep(2 * verifiedLife)
		p.guard.block()
		let := make(chan *Answer)
		go func() { let <- p.Admit(right, c, time.Now()) }()
		synctest.Wait()
		select {
		case a := <-let:
			t.Fatalf("a password that was long not used is not checked: %+v", a)
		default:
		}
		p.guard.unblock()
		if a := <-let; a != nil {
			t.Fatalf("%+v", a)
		}
	})
}

// TestFewChecksAtOnce has more new users at once than may be checked and may wait.
func TestFewChecksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := guarded(t, map[string]string{"ann": "secret"})
		p.guard.block()
		answers := make(chan int, 2*checksWaiting)
		for i := range checksWaiting + 5 {
			go func() {
				r := request(t, "GET /", basic(fmt.Sprintf("user%d:secret", i)))
				answers <- p.Admit(r, from(fmt.Sprintf("192.0.2.%d", i)), time.Now()).status()
			}()
		}
		synctest.Wait()
		if len(answers) != 5 {
			t.Fatalf("%d are answered at once, not 5", len(answers))
		}
		for range 5 {
			if status := <-answers; status != 503 {
				t.Errorf("status %d", status)
			}
		}
		p.guard.unblock()
		for range checksWaiting {
			if status := <-answers; status != 401 {
				t.Errorf("status %d", status)
			}
		}
		if n := len(p.guard.slots); n != 0 {
			t.Errorf("%d slots are not given back", n)
		}
	})
}

// TestGuessingIsSlow lets one client guess: it gets few checks, others are let in meanwhile.
func TestGuessingIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := guarded(t, map[string]string{"ann": "secret"})
		guesses, checked := 0, 0
		for range 600 { // ten a second for a minute
			guesses++
			a := p.Admit(request(t, "GET /", basic(fmt.Sprintf("ann:%d", guesses))), from("192.0.2.1"), time.Now())
			switch a.status() {
			case 401:
				checked++
			case 429:
				if a.field("Retry-After") == "" {
					t.Fatalf("%+v", a)
				}
			default:
				t.Fatalf("%+v", a)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if most := attempts + int(time.Minute/attemptInterval); checked > most || checked < most-1 {
			t.Errorf("%d guesses were checked, want %d", checked, most)
		}
		if a := p.Admit(request(t, "GET /", basic("ann:secret")), from("192.0.2.2"), time.Now()); a != nil {
			t.Errorf("another client: %+v", a)
		}
		// Right ones cost nothing: a whole office may come from one address.
		many := map[string]string{}
		for i := range 3 * attempts {
			many[fmt.Sprint("user", i)] = "secret"
		}
		p = guarded(t, many)
		for user := range many {
			if a := p.Admit(request(t, "GET /", basic(user+":secret")), from("192.0.2.3"), time.Now()); a != nil {
				t.Fatalf("%s: %+v", user, a)
			}
		}
	})
}

func TestBasicAuthInParallel(t *testing.T) {
	p := guarded(t, map[string]string{"ann": "secret", "bob": "secret"})
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			user := []string{"ann", "bob", "eve"}[i%3]
			for range 50 {
				a := p.Admit(request(t, "GET /", basic(user+":secret")), from(fmt.Sprintf("192.0.2.%d", i)), time.Now())
				if user == "eve" && a.status() != 401 || user != "eve" && a != nil {
					t.Errorf("%s: %+v", user, a)
				}
			}
		})
	}
	all.Wait()
}

func TestBasicAuthSpecs(t *testing.T) {
	good := hash(t, "secret")
	for _, c := range []struct {
		user, hash string
		ok         bool
	}{
		{"ann", good, true},
		{"ann", strings.Replace(good, "$2a$", "$2y$", 1), true}, // htpasswd's
		{"ann", strings.Replace(good, "$04$", "$15$", 1), false},
		{"ann", strings.Replace(good, "$04$", "$03$", 1), false},
		{"ann", good[1:], false},
		{"ann", good + "x", false},
		{"ann", "hunter2", false},
		{"ann", "", false},
		{"a:b", good, false},
		{"", good, false},
		{"a\nb", good, false},
	} {
		_, err := Compile("/", api.RoutePolicy{BasicAuth: map[string]string{c.user: c.hash}}, nil)
		if (err == nil) != c.ok || err != nil && !api.IsKind(err, api.Invalid) {
			t.Errorf("%q, %q: %v", c.user, c.hash, err)
		}
		if err != nil && c.hash != "" && strings.Contains(err.Error(), c.hash) {
			t.Errorf("the error repeats the hash: %v", err)
		}
	}
}

func BenchmarkBasicAuth(b *testing.B) {
	p := guarded(b, map[string]string{"ann": "correct horse battery staple"})
	r, c, now := request(b, "GET /", "Host: a", basic("ann:correct horse battery staple")), from("192.0.2.1"), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if p.Admit(r, c, now) != nil {
			b.Fatal("refused")
		}
	}
}
