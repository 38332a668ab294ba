package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/network/networktest"
	"github.com/ikada/ikada/internal/network/roster"
)

// traces gives everything of an instance that is to be seen on the machine.
func traces(t *testing.T, n *Network) []string {
	t.Helper()
	var found []string
	links, err := dump(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, n.portPrefix()) || name == n.BridgeName() {
			found = append(found, "link "+name)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.cfg.StateDir) {
			found = append(found, "mount "+line)
		}
	}
	for _, dir := range []string{n.netnsDir(), n.filesDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			found = append(found, "file "+e.Name())
		}
	}
	slices.Sort(found)
	return found
}

// contents gives the chains, sets and elements of the instance's bridge table.
func contents(t *testing.T, n *Network) (chains, sets, elements int) {
	t.Helper()
	conn, _, err := openNFTables()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseLasting() }()
	all, err := conn.ListChainsOfTableFamily(nftables.TableFamilyBridge)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Table.Name == n.tableName() {
			chains++
		}
	}
	list, err := conn.GetSets(&nftables.Table{Name: n.tableName(), Family: nftables.TableFamilyBridge})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		els, err := conn.GetSetElements(s)
		if err != nil {
			t.Fatal(err)
		}
		sets++
		elements += len(els)
	}
	return chains, sets, elements
}

func TestAttachDetachLeavesNothing(t *testing.T) {
	n := open(t, nil)
	clean := traces(t, n)
	chains, sets, elements := contents(t, n)
	var wg sync.WaitGroup
	for worker := range 10 {
		wg.Go(func() {
			for i := range 20 {
				id := fmt.Sprintf("t%d-%d", worker, i)
				e := networktest.Endpoint(id, "web", fmt.Sprintf("app%d/prod/default", worker%3), "shared/prod/x")
				if _, err := n.Attach(context.Background(), e); err != nil {
					t.Error(err)
				}
				n.Publish(id, true)
				if err := n.Detach(context.Background(), id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := traces(t, n); !slices.Equal(got, clean) {
		t.Errorf("left behind: %q, clean is %q", got, clean)
	}
	if c, s, e := contents(t, n); c != chains || s != sets || e != elements {
		t.Errorf("the table holds %d chains, %d sets, %d elements; at first %d, %d, %d", c, s, e, chains, sets, elements)
	}
	if n.pool.Held() != 0 || len(n.locks.held) != 0 {
		t.Errorf("%d addresses and %d locks are held", n.pool.Held(), len(n.locks.held))
	}
}

func TestFailedAttachLeavesNothing(t *testing.T) {
	n := open(t, nil)
	clean := traces(t, n)
	e := networktest.Endpoint("t1", "web", "a/prod/default")
	e.Sysctls = map[string]string{"net.ipv4.no_such_setting": "1"}
	_, err := n.Attach(t.Context(), e)
	if !api.IsKind(err, api.Invalid) || !strings.Contains(err.Error(), "net.ipv4.no_such_setting") {
		t.Errorf("error = %v, want kind invalid, naming the setting", err)
	}
	if got := traces(t, n); !slices.Equal(got, clean) || n.pool.Held() != 0 {
		t.Errorf("left behind: %q and %d addresses", got, n.pool.Held())
	}
}

func TestTakeOverSweepsRemnants(t *testing.T) {
	n := open(t, nil)
	a := attachTask(t, n, "whole", "a/prod/default")
	b := attachTask(t, n, "peer", "a/prod/default")
	unmounted := attachTask(t, n, "rebooted", "a/prod/default")
	// Killed while it made an endpoint: all is there but the record.
	half := roster.Entry{Endpoint: networktest.Endpoint("half", "web", "a/prod/default"), Address: netip.Addr{}}
	half.Address, _ = n.pool.Take()
	if err := errors.Join(n.writeFiles(half), n.makeNamespace(half)); err != nil {
		t.Fatal(err)
	}
	if err := removeNamespace(unmounted.Netns); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(n.filePath("broken", ""), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.filePath("broken", "endpoint.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := serve(t, b.Netns, b.Address+":0")
	reach(t, a, b.Address, port)

	n = reopen(t, n)
	if got := n.Endpoints(); !slices.Equal(got, []string{"peer", "whole"}) {
		t.Errorf("took over %q", got)
	}
	if got := len(traces(t, n)); got != 1+2*4 { // bridge; link, mount and two directories' entries each
		t.Errorf("traces = %q", traces(t, n))
	}
	reach(t, a, b.Address, port)
	attachTask(t, n, "half", "a/prod/default")
}

func TestResetLeavesOthersAlone(t *testing.T) {
	n := open(t, nil)
	neighbour := open(t, nil)
	if n.subnet.Overlaps(neighbour.subnet) {
		t.Fatalf("two instances have %s and %s", n.subnet, neighbour.subnet)
	}
	own := attachTask(t, n, "t1", "a/prod/default")
	x, y := attachTask(t, neighbour, "t1", "a/prod/default"), attachTask(t, neighbour, "t2", "a/prod/default")
	port := serve(t, y.Netns, y.Address+":0")
	reach(t, x, y.Address, port)
	cannotReach(t, own, y.Address, port) // the same network's name in another instance is another network
	before := traces(t, neighbour)
	if err := n.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := traces(t, n); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	if after := traces(t, neighbour); !slices.Equal(before, after) {
		t.Errorf("the neighbour had %q and has %q", before, after)
	}
	reach(t, x, y.Address, port)
	if b, err := os.ReadFile(forwardingPath); err != nil || strings.TrimSpace(string(b)) != "1" {
		t.Errorf("ip_forward is %q (%v) while the neighbour needs it", b, err)
	}
	if err := n.Reset(t.Context()); err != nil {
		t.Errorf("second reset: %v", err)
	}
	if _, err := n.Attach(t.Context(), agent.Endpoint{ID: "late"}); !api.IsKind(err, api.Unavailable) {
		t.Errorf("attach after reset: %v, want kind unavailable", err)
	}
}

func TestSubnetStays(t *testing.T) {
	n := open(t, nil)
	subnet := n.Subnet()
	n = reopen(t, n)
	if n.Subnet() != subnet {
		t.Errorf("subnet changed from %s to %s", subnet, n.Subnet())
	}
	attachTask(t, n, "t1", "a/prod/default")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := n.cfg
	cfg.Subnet = netip.MustParsePrefix("10.97.40.0/24")
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(t.Context()); !api.IsKind(err, api.Conflict) {
		t.Errorf("start with another subnet: %v, want kind conflict", err)
	}
}

// A crash of the machine may leave an empty file of settings: the network starts all the same, where tasks live in their
// subnet, and a reset works too.
func TestDamagedSettings(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "half": `{"version":1,"sub`, "zeros": "\x00\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			n := open(t, func(c *Config) { c.Subnet = netip.MustParsePrefix("10.97.48.0/24") })
			subnet := n.Subnet()
			task := attachTask(t, n, "t1", "a/prod/default")
			damage := func() {
				t.Helper()
				if err := os.WriteFile(n.settingsPath(), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			damage()
			n.cfg.Subnet = netip.Prefix{}
			n = reopen(t, n)
			if n.Subnet() != subnet {
				t.Errorf("subnet changed from %s to %s", subnet, n.Subnet())
			}
			reach(t, attachTask(t, n, "t2", "a/prod/default"), task.Address, serve(t, task.Netns, task.Address+":0"))
			damage()
			if err := n.Reset(t.Context()); err != nil {
				t.Errorf("reset: %v", err)
			}
		})
	}
}

func TestFirewallComesBackAfterAFlush(t *testing.T) {
	n := open(t, nil)
	a, b := attachTask(t, n, "a", "x/prod/default"), attachTask(t, n, "b", "y/prod/default")
	c := attachTask(t, n, "c", "x/prod/default")
	port := serve(t, b.Netns, b.Address+":0")
	if err := deleteTables(n.tableName(), n.BridgeName()); err != nil {
		t.Fatal(err)
	}
	reach(t, a, b.Address, port)
	if restored, err := n.firewall.restore(); !restored || err != nil {
		t.Fatalf("restored = %v, %v", restored, err)
	}
	cannotReach(t, a, b.Address, port)
	reach(t, a, c.Address, serve(t, c.Netns, c.Address+":0"))
	if err := deleteTables(n.tableName(), n.BridgeName()); err != nil {
		t.Fatal(err)
	}
	d := attachTask(t, n, "d", "x/prod/default") // finds the tables gone, and makes them again
	reach(t, a, d.Address, serve(t, d.Netns, d.Address+":0"))
	cannotReach(t, a, b.Address, port)
}

func TestChooseSubnet(t *testing.T) {
	for _, c := range []struct {
		used []string
		want string
	}{
		{nil, "10.210.0.0/20"},
		{[]string{"10.210.3.0/24"}, "10.210.16.0/20"},
		{[]string{"10.210.0.0/15", "192.168.0.0/16"}, "10.212.0.0/20"},
		{[]string{"10.0.0.0/8"}, ""},
	} {
		var used []netip.Prefix
		for _, u := range c.used {
			used = append(used, netip.MustParsePrefix(u))
		}
		got, err := chooseSubnet(used)
		if c.want == "" {
			if !api.IsKind(err, api.Exhausted) {
				t.Errorf("with %v: %v, %v", c.used, got, err)
			}
		} else if err != nil || got.String() != c.want {
			t.Errorf("with %v: %v (%v), want %s", c.used, got, err, c.want)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	for field, change := range map[string]func(*agent.Endpoint){
		"endpoint.id":        func(e *agent.Endpoint) { e.ID = "../up" },
		"hostname":           func(e *agent.Endpoint) { e.Hostname = "a b" },
		"extra_hosts":        func(e *agent.Endpoint) { e.Hosts = map[string]string{"a\nb": "192.0.2.1"} },
		"extra_hosts.a":      func(e *agent.Endpoint) { e.Hosts = map[string]string{"a": "192.0.2"} },
		"dns":                func(e *agent.Endpoint) { e.DNS = []string{"one.one.one.one"} },
		"dns_search":         func(e *agent.Endpoint) { e.Search = []string{"a\noptions x"} },
		"sysctls":            func(e *agent.Endpoint) { e.Sysctls = map[string]string{"kernel.panic": "1"} },
		"sysctls (climbing)": func(e *agent.Endpoint) { e.Sysctls = map[string]string{"net/../kernel/panic": "1"} },
	} {
		e := networktest.Endpoint("t1", "web", "a/prod/default")
		change(&e)
		err := validate(e)
		want, _, _ := strings.Cut(field, " ")
		if invalid, ok := errors.AsType[*api.Error](err); !ok || invalid.Kind != api.Invalid || invalid.Field != want {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := (Config{Instance: "x", StateDir: "relative"}).Validate(); !api.IsKind(err, api.Invalid) {
		t.Errorf("relative state directory: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	whole, err := json.Marshal(record{Version: 1, Endpoint: networktest.Endpoint("t1", "web", "a/prod/default"), Ready: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := &Network{cfg: Config{StateDir: t.TempDir()}}
		dir := filepath.Join(n.filesDir(), "t1")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "endpoint.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if e, err := n.readRecord("t1"); err == nil && e.ID != "t1" {
			t.Errorf("read an endpoint called %q", e.ID)
		}
	})
}

func BenchmarkAttach(b *testing.B) {
	n := open(b, nil)
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("t%d", i)
		if _, err := n.Attach(b.Context(), networktest.Endpoint(id, "web", "a/prod/default")); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := n.Detach(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkAttach20AtOnce(b *testing.B) {
	n := open(b, nil)
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if _, err := n.Attach(b.Context(), networktest.Endpoint(fmt.Sprint(i), "web", "a/prod/default")); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		if err := n.Reconcile(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
