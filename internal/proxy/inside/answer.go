package inside

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	answerTTL       = 1               // seconds: a task's address is worth nothing once it is replaced
	questionsAtOnce = 512             // asked of outside servers at one time; more are refused
	tcpIdle         = 8 * time.Second // RFC 7766, section 6.2.3: on the order of seconds
	maxUDPAnswer    = 1232            // bytes, what dnsflagday.net/2020 advises: never fragmented
)

// answerer answers the questions of the hosts on a bridge: names and addresses of what shares a network with the asker
// from the directory, everything else by asking outside. Who asks is told by the source address, which the node's
// firewall guarantees; whoever is not on the bridge is refused.
type answerer struct {
	directory atomic.Pointer[Directory]
	outside   forwarder
	slots     chan struct{}
	ctx       context.Context // ends questions that are out when nobody waits for their answers any more
}

// ServeDNS implements dns.Handler.
func (s *answerer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	asker := addrOf(w.RemoteAddr())
	reply := s.answer(s.ctx, asker, q, udp)
	if reply == nil {
		return
	}
	if udp {
		reply.Truncate(answerLimit(q))
	} else {
		reply.Truncate(dns.MaxMsgSize)
	}
	_ = w.WriteMsg(reply) // the asker has gone: it asks again if it wants to know
}

// answerLimit gives how many bytes the asker takes over UDP (RFC 6891, section 6.2.3).
func answerLimit(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDPAnswer)
	}
	return dns.MinMsgSize
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// answer gives the reply to a question, nil for what is no question at all.
func (s *answerer) answer(ctx context.Context, asker netip.Addr, q *dns.Msg, udp bool) *dns.Msg {
	if q.Response {
		return nil
	}
	d := s.directory.Load()
	h := d.At(asker)
	switch {
	case h == nil:
		return failure(q, dns.RcodeRefused)
	case q.Opcode != dns.OpcodeQuery:
		return failure(q, dns.RcodeNotImplemented)
	case len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET:
		return failure(q, dns.RcodeFormatError)
	}
	question := q.Question[0]
	if question.Qtype == dns.TypeAXFR || question.Qtype == dns.TypeIXFR {
		return failure(q, dns.RcodeRefused)
	}
	if addrs, known := d.Resolve(asker, question.Name); known {
		return addresses(q, addrs)
	}
	if reply := d.reverse(asker, q); reply != nil {
		return reply
	}
	if local(question.Name) || h.Internal {
		// An internal network has no way out, and a question that is passed on would be one.
		return failure(q, dns.RcodeNameError)
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return failure(q, dns.RcodeServerFailure)
	}
	reply, err := s.outside.ask(ctx, d.bridge.Gateway, d.serversOf(h), q, udp)
	if err != nil {
		return failure(q, dns.RcodeServerFailure)
	}
	return reply
}

// serversOf gives the name servers a host chose, but for those on the bridge that it could not reach itself; nil when
// it chose none.
func (d *Directory) serversOf(h *Host) []string {
	if len(h.Servers) == 0 {
		return nil
	}
	servers := []string{}
	for _, a := range h.Servers {
		if !d.own(a) || d.share(h.Address, a) {
			servers = append(servers, netip.AddrPortFrom(a, 53).String())
		}
	}
	return servers
}

// local tells whether a name can only be one of ours: a single label, or one whose last label is a number
// ("web.3"), as no top-level domain's is (RFC 1123, section 2.1). The root is not.
func local(name string) bool {
	labels := dns.SplitDomainName(name)
	switch len(labels) {
	case 0:
		return false
	case 1:
		return true
	}
	last := labels[len(labels)-1]
	return strings.Trim(last, "0123456789") == ""
}

// addresses answers for a name of ours. Only A has records; any other type exists with none.
func addresses(q *dns.Msg, addrs []netip.Addr) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable, m.Authoritative = true, true
	if t := q.Question[0].Qtype; t != dns.TypeA && t != dns.TypeANY {
		return m
	}
	addrs = slices.Clone(addrs)
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	for _, a := range addrs {
		m.Answer = append(m.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: answerTTL},
			A:   a.AsSlice(),
		})
	}
	return m
}

// reverse answers a question about an address of the bridge or of a service; nil for one about any other name.
func (d *Directory) reverse(asker netip.Addr, q *dns.Msg) *dns.Msg {
	name := q.Question[0].Name
	a, ok := reversed(name)
	if !ok || !d.own(a) {
		return nil
	}
	target, ok := d.Reverse(asker, a)
	if !ok {
		return failure(q, dns.RcodeNameError)
	}
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable, m.Authoritative = true, true
	if _, valid := dns.IsDomainName(target); q.Question[0].Qtype == dns.TypePTR && valid {
		m.Answer = []dns.RR{&dns.PTR{
			Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: answerTTL},
			Ptr: dns.Fqdn(target),
		}}
	}
	return m
}

// reversed gives the address that a name under in-addr.arpa is about (RFC 1035, section 3.5).
func reversed(name string) (netip.Addr, bool) {
	digits, ok := strings.CutSuffix(strings.ToLower(dns.Fqdn(name)), ".in-addr.arpa.")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(digits, ".")
	slices.Reverse(parts)
	a, err := netip.ParseAddr(strings.Join(parts, "."))
	return a, err == nil && a.Is4()
}

func failure(q *dns.Msg, code int) *dns.Msg {
	m := new(dns.Msg).SetRcode(q, code)
	m.RecursionAvailable = true
	return m
}
