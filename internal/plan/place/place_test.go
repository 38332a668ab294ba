package place

import (
	"testing"

	"github.com/ikada/ikada/api"
)

const gib = 1 << 30

func node(name string, change ...func(*Node)) Node {
	n := Node{Node: api.Node{Name: name, Hostname: name + ".example.com", Arch: "amd64", OS: "linux", CPUMilli: 4000, Memory: 8 * gib},
		Services: map[string]int{}}
	for _, f := range change {
		f(&n)
	}
	return n
}

func has(service string, n int) func(*Node) {
	return func(x *Node) { x.Services["shop/production/"+service] = n; x.Tasks += n }
}

func used(cpu, memory int64) func(*Node) {
	return func(x *Node) { x.CPUMillis, x.Memory = cpu, memory }
}

func label(key, value string) func(*Node) {
	return func(x *Node) { x.Labels = map[string]string{key: value} }
}

func down(x *Node)    { x.Down = true }
func drained(x *Node) { x.Drained = true }

func TestPick(t *testing.T) {
	constraint := func(c ...string) api.ServiceSpec { return api.ServiceSpec{Placement: api.Placement{Constraints: c}} }
	spread := api.ServiceSpec{Placement: api.Placement{Spread: []string{"node.labels.zone"}}}
	cases := []struct {
		name  string
		nodes []Node
		spec  api.ServiceSpec
		want  string
		why   string
	}{
		{name: "none", why: "no node has joined"},
		{name: "first by name", nodes: []Node{node("b"), node("a")}, want: "a"},
		{name: "fewest of the service", nodes: []Node{node("a", has("web", 2)), node("b", has("web", 1), has("api", 9))}, want: "b"},
		{name: "least reserved", nodes: []Node{node("a", used(0, 4*gib)), node("b", used(1000, gib))}, want: "b"},
		{name: "the scarcer of CPU and memory counts", nodes: []Node{node("a", used(3900, 0)), node("b", used(100, 6*gib))}, want: "b"},
		{name: "fewest tasks", nodes: []Node{node("a", has("api", 1)), node("b")}, want: "b"},
		{name: "spread over zones before nodes", spec: spread, want: "c",
			nodes: []Node{node("a", label("zone", "x"), has("web", 2)), node("b", label("zone", "x")), node("c", label("zone", "y"), has("web", 1))}},
		{name: "a full zone's lost tasks count", spec: spread, want: "c",
			nodes: []Node{node("a", label("zone", "x"), has("web", 1), down), node("b", label("zone", "x")), node("c", label("zone", "y"))}},
		{name: "down and draining", nodes: []Node{node("a", down), node("b", drained), node("c", down)},
			why: "no node fits: 2 down, 1 draining"},
		{name: "memory", nodes: []Node{node("a", used(0, 7*gib)), node("b", used(0, 6*gib))},
			spec: api.ServiceSpec{Resources: api.Resources{ReserveMemory: 2 * gib}}, want: "b"},
		{name: "too much memory", nodes: []Node{node("a"), node("b", down)},
			spec: api.ServiceSpec{Resources: api.Resources{ReserveMemory: 9 * gib}},
			why:  "no node fits: 1 down, 1 lacking memory (9216 MiB wanted)"},
		{name: "too much CPU", nodes: []Node{node("a", used(3600, 0))},
			spec: api.ServiceSpec{Resources: api.Resources{ReserveCPUMillis: 500}}, why: "no node fits: 1 lacking CPU (0.5 cores wanted)"},
		{name: "at most so many a node", nodes: []Node{node("a", has("web", 2)), node("b", has("web", 2))},
			spec: api.ServiceSpec{Placement: api.Placement{MaxPerNode: 2}}, why: "no node fits: 2 at the limit of 2 tasks of web a node"},
		{name: "label", nodes: []Node{node("a"), node("b", label("disk", "SSD"))}, spec: constraint("node.labels.disk == ssd"), want: "b"},
		{name: "not label", nodes: []Node{node("a", label("disk", "hdd")), node("b")}, spec: constraint("node.labels.disk != hdd"), want: "b"},
		{name: "host name", nodes: []Node{node("a"), node("b")}, spec: constraint("node.hostname==b.example.com"), want: "b"},
		{name: "all of several", nodes: []Node{node("a", label("disk", "ssd")), node("b", label("disk", "ssd"))},
			spec: constraint("node.labels.disk == ssd", "node.name != a", "node.platform.os == linux", "node.platform.arch == amd64"), want: "b"},
		{name: "no match", nodes: []Node{node("a"), node("b")}, spec: constraint("node.labels.disk == ssd"),
			why: `no node fits: 2 not matching "node.labels.disk == ssd"`},
		{name: "malformed", nodes: []Node{node("a")}, spec: constraint("disk=ssd"),
			why: `placement.constraints: "disk=ssd"; expected node.labels.NAME, node.hostname, node.name, node.platform.arch or node.platform.os, then == or !=, then a value`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			r := Request{Env: api.EnvRef{App: "shop", Env: "production"}, Service: "web", Spec: tc.spec}
			got, why := Pick(tc.nodes, r)
			if got != tc.want || why != tc.why {
				t.Errorf("got %q, %q; want %q, %q", got, why, tc.want, tc.why)
			}
		})
	}
}
