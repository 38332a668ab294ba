package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// callTally is what the test app says at /calls, for one kind of client.
type callTally struct {
	Done    int
	Failed  int
	First   string
	Longest time.Duration
	Answers map[string]int
}

func (a *App) calls() map[string]callTally {
	a.t.Helper()
	out := map[string]callTally{}
	if err := json.Unmarshal([]byte(a.Get("/calls")), &out); err != nil {
		a.t.Fatal(err)
	}
	return out
}

// moreCalls waits until every kind of client has made more calls than before.
func (a *App) moreCalls(before map[string]callTally, kinds, more int) {
	a.t.Helper()
	Until(a.t, 20*time.Second, func() string {
		now := a.calls()
		if len(now) != kinds {
			return fmt.Sprintf("%d kinds of clients", kinds)
		}
		for kind, c := range now {
			if c.Done < before[kind].Done+more {
				return fmt.Sprintf("calls of the client that %s: %d of %d", kind, c.Done-before[kind].Done, more)
			}
		}
		return ""
	})
}

// noneFailed fails the test for calls that failed, and gives how many there were.
func (a *App) noneFailed() (total int) {
	a.t.Helper()
	for kind, c := range a.calls() {
		a.t.Logf("the client that %s: %d calls, %d failed, longest %s, answers %v", kind, c.Done, c.Failed, c.Longest.Round(time.Millisecond), c.Answers)
		if c.Failed > 0 {
			a.t.Errorf("%d of %d calls of the client that %s failed: %s", c.Failed, c.Done, kind, c.First)
		}
		total += c.Done
	}
	return total
}

// TestCallsSurviveRollsAndKills has one service call another, which is rolled ten times while ikada is killed.
func TestCallsSurviveRollsAndKills(t *testing.T) {
	n := NewNode(t)
	if err := n.pushImages(); err != nil {
		t.Fatal(err)
	}
	a := n.App(t)
	version := func(i int) string { return fmt.Sprintf("v%d", 1+i%4) }
	compose := func(i int) {
		a.Compose(`
services:
  web:
    image: {registry}/app:v1
    environment: {CALL: api, CALL_TCP: "1"}
    ports: ["{port}:8080"]
    depends_on: [api]
    x-ikada: {strategy: {monitor: 300ms}}
  api:
    image: {registry}/app:` + version(i) + `
    environment: {TCP_PORT: "2525", ROUND: "` + fmt.Sprint(i) + `"}
    expose: ["8080", "2525"]
    deploy: {replicas: 2}
    x-ikada:
      health: {http: /healthz, interval: 1s}
      strategy: {monitor: 300ms, drain: 10s}
`)
	}
	compose(0)
	a.Deploy()
	a.moreCalls(nil, 3, 50)
	address := a.Shell("web", "nslookup api 2>/dev/null | awk '/^Name:/ {getline; print $NF}'")
	for i := range 10 {
		compose(i + 1)
		if i%2 == 0 {
			a.Deploy()
			continue
		}
		a.Run("deploy", "--detach").Want(t, exitDone)
		time.Sleep(time.Duration(i) * 150 * time.Millisecond) // another moment of the roll each time
		n.Kill(t)
		before := a.calls()
		a.moreCalls(before, 3, 2*51) // connections among them, and so names
		n.Start(t)
		a.Run("watch").Want(t, exitDone)
	}
	a.moreCalls(a.calls(), 3, 10)
	if now := a.Shell("web", "nslookup api 2>/dev/null | awk '/^Name:/ {getline; print $NF}'"); now != address || now == "" {
		t.Errorf("api was found at %q, now at %q", address, now)
	}
	if total := a.noneFailed(); total < 3000 {
		t.Errorf("only %d calls were made", total)
	}
	for kind, c := range a.calls() {
		if got := len(c.Answers); kind != "keeps talking" && got != 4 {
			t.Errorf("the client that %s met %d versions of 4", kind, got)
		}
	}
}

// TestCallsAreHeld rolls a service of one task that is stopped before the next is started.
func TestCallsAreHeld(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	for i := range 3 {
		a.Compose(`
services:
  web:
    image: {registry}/app:v1
    environment: {CALL: api}
    ports: ["{port}:8080"]
    depends_on: [api]
    x-ikada: {strategy: {monitor: 300ms}}
  api:
    image: {registry}/app:v` + fmt.Sprint(i+1) + `
    environment: {START_DELAY: 500ms}
    expose: ["8080"]
    x-ikada:
      health: {http: /healthz, interval: 1s}
      strategy: {order: stop-first, monitor: 300ms}
`)
		a.Deploy()
		a.moreCalls(a.calls(), 2, 20)
	}
	a.noneFailed()
	for kind, c := range a.calls() {
		if c.Longest < 400*time.Millisecond {
			t.Errorf("the longest call of the client that %s took %s: none was held", kind, c.Longest)
		}
	}
}

// TestVirtualAddresses looks at names, datagrams, echoes and who may reach what, from within containers.
func TestVirtualAddresses(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := `
services:
  front:
    image: {registry}/app:v1
    networks: [outer]
    ports: ["{port}:8080"]
    x-ikada: {strategy: {monitor: 300ms}}
  middle:
    image: {registry}/app:v2
    environment: {UDP_PORT: "5353"}
    expose: ["8080"]
    networks: {outer: {aliases: [centre]}, inner: {}}
    deploy: {replicas: 2}
    x-ikada: {strategy: {monitor: 300ms}}
  back:
    image: {registry}/app:v3
    expose: ["8080"]
    networks: [inner]
    x-ikada: {strategy: {monitor: 300ms}}
networks: {outer: {}, inner: {internal: true}}
`
	a.Compose(compose)
	a.Deploy()
	lookup := func(from *App, service, name string) []string {
		t.Helper()
		return strings.Fields(from.Shell(service, "nslookup "+name+" 2>/dev/null | awk '/^Name:/ {getline; print $NF}'"))
	}
	found := lookup(a, "front", "middle")
	if len(found) != 1 {
		t.Fatalf("middle is found at %v, want one virtual address", found)
	}
	virtual := found[0]
	if tasks := lookup(a, "front", "tasks.middle"); len(tasks) != 2 || tasks[0] == virtual || tasks[1] == virtual {
		t.Errorf("tasks.middle is found at %v, want the two tasks", tasks)
	}
	if one := lookup(a, "front", "middle.1"); len(one) != 1 || one[0] == virtual {
		t.Errorf("middle.1 is found at %v, want the task", one)
	}
	for name, from := range map[string]string{"centre": "front", "middle": "back"} {
		if got := lookup(a, from, name); len(got) != 1 || got[0] != virtual {
			t.Errorf("%s is found at %v by %s, want %s", name, got, from, virtual)
		}
	}
	if got := lookup(a, "back", "centre"); len(got) != 0 {
		t.Errorf("the alias of another network is found at %v", got)
	}

	heard := map[string]int{}
	for range 30 {
		heard[a.Get("/udp?addr=middle:5353")]++
	}
	if heard["middle-1"] == 0 || heard["middle-2"] == 0 || len(heard) != 2 {
		t.Errorf("datagrams were answered by %v, want by both tasks", heard)
	}
	a.Shell("front", "ping -c 1 -W 20 middle")

	answers := func(from *App, service, addr, seconds string) bool {
		t.Helper()
		return from.Run("exec", service, "timeout", seconds, "wget", "-q", "-O", "-", "http://"+addr+":8080/").Code == 0
	}
	back := lookup(a, "middle", "back")
	if len(back) != 1 || !answers(a, "middle", back[0], "30") {
		t.Errorf("middle does not reach back at %v", back)
	}
	if answers(a, "front", back[0], "2") {
		t.Error("front reaches the virtual address of a service in another network")
	}
	b := shared.App(t)
	b.web("v4")
	b.Deploy()
	if answers(b, "web", virtual, "2") {
		t.Error("another app reaches a virtual address")
	}
	if b.Run("exec", "web", "timeout", "2", "ping", "-c", "1", virtual).Code == 0 {
		t.Error("another app gets an echo from a virtual address")
	}
	if r := b.Run("exec", "web", "--", "sh", "-c", "nslookup "+reversed(t, virtual)+".in-addr.arpa | grep middle"); r.Code == 0 {
		t.Errorf("another app learns the name of a virtual address\n%s", r)
	}
	// Another environment of the same app has addresses of its own.
	a.Port = nextPort()
	a.Compose(compose)
	a.Deploy("--env", "staging")
	r := a.Run("exec", "-e", "staging", "front", "--", "sh", "-c", "nslookup middle 2>/dev/null | awk '/^Name:/ {getline; print $NF}'").Want(t, exitDone)
	if other := strings.TrimSpace(r.Stdout); other == virtual || other == "" {
		t.Errorf("staging finds middle at %q, production at %q", other, virtual)
	}
	a.Run("destroy", "-y", "--env", "staging").Want(t, exitDone)
}

func reversed(t *testing.T, addr string) string {
	t.Helper()
	a, err := netip.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	b := a.As4()
	return fmt.Sprintf("%d.%d.%d.%d", b[3], b[2], b[1], b[0])
}
