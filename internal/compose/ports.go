package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ikada/ikada/api"
)

// maxPorts bounds the ports of one service: a range is quickly written.
const maxPorts = 1000

func (c *converter) ports(field string, s *types.ServiceConfig) []api.PortSpec {
	var out []api.PortSpec
	if len(s.Ports) > maxPorts {
		c.bad(field+".ports", fmt.Sprint(len(s.Ports)), fmt.Sprintf("at most %d ports", maxPorts))
		return nil
	}
	for i, p := range s.Ports {
		if port, ok := c.port(fmt.Sprintf("%s.ports[%d]", field, i), p); ok && !slices.Contains(out, port) {
			out = append(out, port)
		}
	}
	return out
}

func (c *converter) port(field string, p types.ServicePortConfig) (api.PortSpec, bool) {
	shown := fmt.Sprintf("%s:%d/%s", p.Published, p.Target, p.Protocol)
	if p.Protocol != "" && p.Protocol != "tcp" {
		c.refuse(field+".protocol", p.Protocol, "not supported: the balancer publishes TCP ports only")
		return api.PortSpec{}, false
	}
	if p.Target == 0 || p.Target > 65535 {
		c.bad(field+".target", shown, "a port from 1 to 65535")
		return api.PortSpec{}, false
	}
	out := api.PortSpec{HostIP: p.HostIP, Target: uint16(p.Target)}
	switch p.AppProtocol {
	case "":
	case "http", "http2", "h2c", "grpc":
		out.Protocol = api.ProtoHTTP
	case "tcp", "https", "tls":
		out.Protocol = api.ProtoTCP
	default:
		c.refuse(field+".app_protocol", p.AppProtocol, "not supported; expected http or tcp")
	}
	if p.Mode == "host" {
		c.warn("%s.mode host is taken as ingress: the balancer publishes the port on every node", field)
	} else if p.Mode != "" && p.Mode != "ingress" {
		c.bad(field+".mode", p.Mode, "ingress")
	}
	switch {
	case p.Published == "" || p.Published == "0":
		c.warn("%s publishes no port: %d has no port of the node beside it, as in \"8080:%d\"", field, p.Target, p.Target)
	case strings.Contains(p.Published, "-"):
		c.refuse(field+".published", p.Published, "a range for one port is not supported; expected one port")
	default:
		n, err := strconv.ParseUint(p.Published, 10, 16)
		if err != nil || n == 0 {
			c.bad(field+".published", p.Published, "a port from 1 to 65535")
			return api.PortSpec{}, false
		}
		out.Published = uint16(n)
	}
	return out, true
}

// expose expands ranges. UDP ports reach tasks as all do; nothing in ikada refers to them.
func (c *converter) expose(field string, s *types.ServiceConfig) []uint16 {
	var out []uint16
	for i, e := range s.Expose {
		at := fmt.Sprintf("%s.expose[%d]", field, i)
		ports, proto, _ := strings.Cut(e, "/")
		if proto != "" && proto != "tcp" {
			c.warn("%s %s has no effect: routes and checks use TCP ports", at, e)
			continue
		}
		first, last, isRange := strings.Cut(ports, "-")
		from, err := strconv.ParseUint(first, 10, 16)
		to := from
		if err == nil && isRange {
			to, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || from == 0 || to < from || to-from > maxPorts {
			c.bad(at, e, "a port from 1 to 65535, or a range such as 3000-3005")
			continue
		}
		for p := from; p <= to; p++ {
			if !slices.Contains(out, uint16(p)) {
				out = append(out, uint16(p))
			}
		}
	}
	return out
}
