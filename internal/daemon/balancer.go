package daemon

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/remote"
)

// Balancer says how the node's balancer serves its shared HTTPS port, whom it believes, and what it writes down.
type Balancer struct {
	HTTPS           string   // shared HTTPS port; "" is none
	Certs           string   // directory of certificates, absolute; needed with HTTPS
	TrustProxy      []string // addresses or networks whose word on the client's address is taken
	ProxyProtocol   bool     // connections from them begin with the PROXY protocol
	AccessLog       string   // absolute path; "" is none
	AccessLogSample int      // one of so many requests, and every failed one; 0 is 1
}

// validate names the first field that is wrong. http is the shared HTTP port.
func (b Balancer) validate(http string) error {
	if b.HTTPS != "" {
		if err := checkAddress("https", b.HTTPS, ":443 or 127.0.0.1:8443"); err != nil {
			return err
		}
		if b.HTTPS == http {
			return api.FieldError("https", b.HTTPS, "another address than --http")
		}
		if b.Certs == "" {
			return api.FieldError("certs", "", "a directory with certificates: --https needs them")
		}
	}
	if b.Certs != "" {
		if info, err := os.Stat(b.Certs); err != nil || !info.IsDir() {
			return api.FieldError("certs", b.Certs, "a directory with NAME.crt and NAME.key, or NAME.pem")
		}
	}
	if _, err := b.trusted(); err != nil {
		return err
	}
	if b.ProxyProtocol && len(b.TrustProxy) == 0 {
		return api.FieldError("proxy-protocol", "true", "--trust-proxy: whose connections begin with it")
	}
	return b.checkAccessLog()
}

func (b Balancer) checkAccessLog() error {
	switch {
	case b.AccessLogSample < 0:
		return api.FieldError("access-log-sample", strconv.Itoa(b.AccessLogSample), "1 or more")
	case b.AccessLogSample > 1 && b.AccessLog == "":
		return api.FieldError("access-log-sample", strconv.Itoa(b.AccessLogSample), "--access-log: the file that it is about")
	case b.AccessLog == "":
		return nil
	}
	dir, err := os.Stat(filepath.Dir(b.AccessLog))
	file, fileErr := os.Stat(b.AccessLog)
	if err != nil || !dir.IsDir() || fileErr == nil && !file.Mode().IsRegular() {
		return api.FieldError("access-log", b.AccessLog, "a file in a directory that is there")
	}
	return nil
}

// trusted gives TrustProxy as networks, an address as the network of it alone.
func (b Balancer) trusted() ([]string, error) {
	var out []string
	for _, text := range b.TrustProxy {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil || addr.Zone() != "" {
				return nil, api.FieldError("trust-proxy", text, "an address or a network, such as 10.0.0.0/8")
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		out = append(out, prefix.Masked().String())
	}
	return out, nil
}

// remote is the configuration of the balancer's process.
func (c Config) remote() (remote.Config, error) {
	trusted, err := c.Balancer.trusted()
	return remote.Config{
		Socket: c.balancerSocket(), HTTP: c.HTTP, Version: c.Version,
		HTTPS: c.Balancer.HTTPS, Certs: c.Balancer.Certs, TrustProxy: trusted, ProxyProtocol: c.Balancer.ProxyProtocol,
		AccessLog: c.Balancer.AccessLog, AccessLogSample: c.Balancer.AccessLogSample,
	}, err
}

func checkAddress(flag, address, example string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return api.FieldError(flag, address, "an address such as "+example)
	}
	return nil
}
