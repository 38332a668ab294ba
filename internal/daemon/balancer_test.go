package daemon

import (
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBalancerConfig(t *testing.T) {
	dir := t.TempDir()
	base := Config{DataDir: dir, Listen: "127.0.0.1:7600", HTTP: ":80", Version: "1", Log: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		Balancer
		wrong string // how the error begins; "" is none
	}{
		{Balancer{}, ""},
		{Balancer{HTTPS: ":443", Certs: dir}, ""},
		{Balancer{Certs: dir}, ""},
		{Balancer{HTTPS: "443", Certs: dir}, `https: "443"; expected an address such as`},
		{Balancer{HTTPS: ":80", Certs: dir}, `https: ":80"; expected another address than --http`},
		{Balancer{HTTPS: ":443"}, "certs; expected a directory"},
		{Balancer{HTTPS: ":443", Certs: filepath.Join(dir, "none")}, `certs: "` + dir},
		{Balancer{TrustProxy: []string{"10.1.2.3/8", "::1", "192.0.2.1"}, ProxyProtocol: true}, ""},
		{Balancer{TrustProxy: []string{"10.0.0.0/8", "fe80::1%eth0"}}, `trust-proxy: "fe80::1%eth0"; expected an address or a network`},
		{Balancer{TrustProxy: []string{"10.0.0.0/33"}}, `trust-proxy: "10.0.0.0/33"`},
		{Balancer{ProxyProtocol: true}, `proxy-protocol: "true"; expected --trust-proxy`},
		{Balancer{AccessLog: filepath.Join(dir, "access.log"), AccessLogSample: 10}, ""},
		{Balancer{AccessLog: filepath.Join(dir, "none", "access.log")}, `access-log: "` + dir},
		{Balancer{AccessLog: dir}, `access-log: "` + dir},
		{Balancer{AccessLogSample: 10}, `access-log-sample: "10"; expected --access-log`},
		{Balancer{AccessLog: filepath.Join(dir, "access.log"), AccessLogSample: -1}, `access-log-sample: "-1"; expected 1 or more`},
	} {
		cfg := base
		cfg.Balancer = c.Balancer
		err := cfg.Validate()
		if (err == nil) != (c.wrong == "") || err != nil && !strings.HasPrefix(err.Error(), c.wrong) {
			t.Errorf("%+v: got %v, want %q", c.Balancer, err, c.wrong)
		}
	}
	base.Balancer = Balancer{HTTPS: ":443", Certs: dir, TrustProxy: []string{"10.1.2.3/8", "::1"}, ProxyProtocol: true, AccessLog: "/a", AccessLogSample: 5}
	got, err := base.remote()
	if err != nil || got.HTTP != ":80" || got.HTTPS != ":443" || got.Certs != dir || !got.ProxyProtocol || got.AccessLog != "/a" ||
		got.AccessLogSample != 5 || !slices.Equal(got.TrustProxy, []string{"10.0.0.0/8", "::1/128"}) {
		t.Errorf("the process's configuration: %+v, %v", got, err)
	}
}
