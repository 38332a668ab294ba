package api

import (
	"strings"
	"testing"
)

// valid is a spec without a fault, of which each case below changes one thing.
func valid() AppSpec {
	return AppSpec{
		App: "shop", Env: "production",
		Services: map[string]ServiceSpec{
			"web": {
				Image: "nginx", Replicas: 2, Ports: []PortSpec{{Published: 8080, Target: 80}},
				Routes:    []RouteSpec{{Host: "*.example.com", Path: "/api"}},
				DependsOn: []Dependency{{Service: "db", Condition: DependHealthy}, {Service: "gone", Condition: DependStarted, Optional: true}},
				Mounts:    []Mount{{Type: MountVolume, Source: "data", Target: "/data"}, {Type: MountTmpfs, Target: "/tmp"}},
				Networks:  []NetworkJoin{{Network: DefaultNetwork}, {Network: "back", Aliases: []string{"www"}}},
				Configs:   []FileJoin{{Source: "c", Target: "/c"}}, Secrets: []FileJoin{{Source: "s", Target: "/run/secrets/s"}},
				Ulimits: map[string]Ulimit{"nofile": {Soft: 10, Hard: -1}}, Sysctls: map[string]string{"net.core.somaxconn": "1"},
				Health: &HealthSpec{HTTP: &HTTPGet{Path: "/"}},
			},
			"db": {Image: "postgres:18@sha256:00", Replicas: 1},
		},
		Volumes:  map[string]VolumeSpec{"data": {}},
		Networks: map[string]NetworkSpec{"back": {Internal: true}},
		Configs:  map[string]ConfigSpec{"c": {Content: []byte("x")}},
		Secrets:  map[string]SecretSpec{"s": {Version: "v1"}},
	}
}

func TestValidate(t *testing.T) {
	spec := valid()
	if err := spec.Validate(); err != nil {
		t.Fatalf("the valid spec: %v", err)
	}
	web := func(change func(*ServiceSpec)) func(*AppSpec) {
		return func(s *AppSpec) {
			svc := s.Services["web"]
			change(&svc)
			s.Services["web"] = svc
		}
	}
	for _, c := range []struct {
		field  string
		change func(*AppSpec)
	}{
		{"app", func(s *AppSpec) { s.App = "Shop" }},
		{"app", func(s *AppSpec) { s.App = strings.Repeat("a", 64) }},
		{"env", func(s *AppSpec) { s.Env = "" }},
		{"env", func(s *AppSpec) { s.Env = "a/b" }},
		{"services", func(s *AppSpec) { s.Services = nil }},
		{"services.-a", func(s *AppSpec) { s.Services["-a"] = ServiceSpec{Image: "x"} }},
		{"volumes.a b", func(s *AppSpec) { s.Volumes["a b"] = VolumeSpec{} }},
		{"volumes.v.name", func(s *AppSpec) { s.Volumes["v"] = VolumeSpec{Name: "../x"} }},
		{"networks.", func(s *AppSpec) { s.Networks[""] = NetworkSpec{} }},
		{"configs.c.content", func(s *AppSpec) { s.Configs["c"] = ConfigSpec{Content: make([]byte, MaxConfigBytes+1)} }},
		{"secrets.s", func(s *AppSpec) { s.Secrets["s"] = SecretSpec{} }},
		{"secrets.s", func(s *AppSpec) { s.Secrets["s"] = SecretSpec{Value: make([]byte, MaxSecretBytes+1)} }},
		{"services.db.dependsOn", func(s *AppSpec) {
			s.Services["db"] = ServiceSpec{Image: "x", DependsOn: []Dependency{{Service: "web", Condition: DependStarted}}}
		}},
		{"services.web.ports[0]", func(s *AppSpec) {
			s.Services["db"] = ServiceSpec{Image: "x", Ports: []PortSpec{{HostIP: "127.0.0.1", Published: 8080, Target: 1}}}
		}},
		{"services.web.routes[0]", func(s *AppSpec) {
			s.Services["db"] = ServiceSpec{Image: "x", Routes: []RouteSpec{{Host: "*.EXAMPLE.com", Path: "/api/"}}}
		}},
		{"services.web.image", web(func(s *ServiceSpec) { s.Image = "" })},
		{"services.web.pull", web(func(s *ServiceSpec) { s.Pull = "often" })},
		{"services.web.env", web(func(s *ServiceSpec) { s.Env = map[string]string{"A=": "b"} })},
		{"services.web.env.A", web(func(s *ServiceSpec) { s.Env = map[string]string{"A": "\x00"} })},
		{"services.web.command[1]", web(func(s *ServiceSpec) { s.Command = []string{"a", "\x00"} })},
		{"services.web.workingDir", web(func(s *ServiceSpec) { s.WorkingDir = "a" })},
		{"services.web.stopSignal", web(func(s *ServiceSpec) { s.StopSignal = "65" })},
		{"services.web.stopSignal", web(func(s *ServiceSpec) { s.StopSignal = "SIGTREM" })},
		{"services.web.stopSignal", web(func(s *ServiceSpec) { s.StopSignal = "SIGRTMIN+16" })},
		{"services.web.ports[0].target", web(func(s *ServiceSpec) { s.Ports[0].Target = 0 })},
		{"services.web.ports[0].protocol", web(func(s *ServiceSpec) { s.Ports[0].Protocol = "udp" })},
		{"services.web.ports[0].hostIP", web(func(s *ServiceSpec) { s.Ports[0].HostIP = "localhost" })},
		{"services.web.expose[0]", web(func(s *ServiceSpec) { s.Expose = []uint16{0} })},
		{"services.web.routes[0].host", web(func(s *ServiceSpec) { s.Routes[0].Host = "a.*.b" })},
		{"services.web.routes[0].path", web(func(s *ServiceSpec) { s.Routes[0].Path = "api" })},
		{"services.web.networks[1]", web(func(s *ServiceSpec) { s.Networks[1].Network = "nope" })},
		{"services.web.networks[1]", web(func(s *ServiceSpec) { s.Networks[1].Network = DefaultNetwork })},
		{"services.web.networks[1].aliases", web(func(s *ServiceSpec) { s.Networks[1].Aliases = []string{"a b"} })},
		{"services.web.extraHosts.a", web(func(s *ServiceSpec) { s.ExtraHosts = map[string]string{"a": "b"} })},
		{"services.web.dns[0]", web(func(s *ServiceSpec) { s.DNS = []string{"a"} })},
		{"services.web.health", web(func(s *ServiceSpec) { s.Health = &HealthSpec{} })},
		{"services.web.health", web(func(s *ServiceSpec) { s.Health = &HealthSpec{Disabled: true, TCP: &TCPProbe{}} })},
		{"services.web.health.interval", web(func(s *ServiceSpec) { s.Health = &HealthSpec{TCP: &TCPProbe{}, Interval: -1} })},
		{"services.web.dependsOn[0].service", web(func(s *ServiceSpec) { s.DependsOn[0].Service = "nope" })},
		{"services.web.dependsOn[0].service", web(func(s *ServiceSpec) { s.DependsOn[0].Service = "web" })},
		{"services.web.dependsOn[0].condition", web(func(s *ServiceSpec) { s.DependsOn[0].Condition = "" })},
		{"services.web.dependsOn[0].condition", web(func(s *ServiceSpec) { s.DependsOn[0].Condition = DependCompleted })},
		{"services.web.replicas", web(func(s *ServiceSpec) { s.Replicas = MaxReplicas + 1 })},
		{"services.web.resources.memoryBytes", web(func(s *ServiceSpec) { s.Resources.MemoryBytes = 1 })},
		{"services.web.resources.reserveMemory", web(func(s *ServiceSpec) { s.Resources.MemoryBytes, s.Resources.ReserveMemory = 8<<20, 9<<20 })},
		{"services.web.resources.memorySwapBytes", web(func(s *ServiceSpec) { s.Resources.MemorySwapBytes = 1 << 30 })},
		{"services.web.restart.condition", web(func(s *ServiceSpec) { s.Restart.Condition = "always" })},
		{"services.web.update.maxFailureRatio", web(func(s *ServiceSpec) { s.Update.MaxFailureRatio = 1.1 })},
		{"services.web.rollback.order", web(func(s *ServiceSpec) { s.Rollback.Order = "last" })},
		{"services.web.exclusive", web(func(s *ServiceSpec) { s.Exclusive, s.Update.Order = true, StartFirst })},
		{"services.web.placement.constraints[0]", web(func(s *ServiceSpec) { s.Placement.Constraints = []string{"ssd"} })},
		{"services.web.placement.constraints[0]", web(func(s *ServiceSpec) { s.Placement.Constraints = []string{"node.role == manager"} })},
		{"services.web.placement.constraints[0]", web(func(s *ServiceSpec) { s.Placement.Constraints = []string{"node.labels. == ssd"} })},
		{"services.web.mounts[0].source", web(func(s *ServiceSpec) { s.Mounts[0].Source = "nope" })},
		{"services.web.mounts[0].target", web(func(s *ServiceSpec) { s.Mounts[0].Target = "/a/../b" })},
		{"services.web.mounts[0].subPath", web(func(s *ServiceSpec) { s.Mounts[0].SubPath = "a/../../b" })},
		{"services.web.mounts[1].target", web(func(s *ServiceSpec) { s.Mounts[1].Target = "/data/" })},
		{"services.web.mounts[1].source", web(func(s *ServiceSpec) { s.Mounts[1].Type, s.Mounts[1].Source = MountBind, "rel" })},
		{"services.web.configs[0].target", web(func(s *ServiceSpec) { s.Configs[0].Target = "/data" })},
		{"services.web.secrets[0].source", web(func(s *ServiceSpec) { s.Secrets[0].Source = "nope" })},
		{"services.web.secrets[0].mode", web(func(s *ServiceSpec) { s.Secrets[0].Mode = 0o10000 })},
		{"services.web.capAdd[0]", web(func(s *ServiceSpec) { s.CapAdd = []string{"all"} })},
		{"services.web.securityOpt[0]", web(func(s *ServiceSpec) { s.SecurityOpt = []string{"apparmor=x"} })},
		{"services.web.ulimits.nofile.soft", web(func(s *ServiceSpec) { s.Ulimits["nofile"] = Ulimit{Soft: -1, Hard: 5} })},
		{"services.web.sysctls", web(func(s *ServiceSpec) { s.Sysctls["kernel.panic"] = "1" })},
		{"services.web.drain", web(func(s *ServiceSpec) { s.Drain = -1 })},
		{"services.web.logging.maxFiles", web(func(s *ServiceSpec) { s.Logging.MaxFiles = -1 })},
	} {
		spec := valid()
		c.change(&spec)
		err := spec.Validate()
		if !IsKind(err, Invalid) || !strings.HasPrefix(err.Error(), c.field+": ") && !strings.HasPrefix(err.Error(), c.field+"; ") {
			t.Errorf("%s: got %v", c.field, err)
		}
	}
}

func TestValidateNamesTheFirstFew(t *testing.T) {
	spec := valid()
	svc := spec.Services["web"]
	svc.CapAdd = []string{"a", "b", "c", "d", "e", "f", "g"}
	spec.Services["web"] = svc
	err := spec.Validate()
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 6 || lines[5] != "and 2 more" || !IsKind(err, Invalid) {
		t.Errorf("got %v", err)
	}
}
