package network

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The words of a rule. Each gives the expressions of one comparison or verdict, in the order that nft(8) would
// generate for what the comment shows; see the "packet matching in nftables" pages of wiki.nftables.org.

// rule joins the words of one rule.
func rule(words ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, w := range words {
		all = append(all, w...)
	}
	return all
}

func compare(op expr.CmpOp, load expr.Any, data []byte) []expr.Any {
	return []expr.Any{load, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

// ifname pads a name as the kernel compares whole names.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func iif(op expr.CmpOp, name string) []expr.Any { // iifname NAME
	return compare(op, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, ifname(name))
}

func oif(op expr.CmpOp, name string) []expr.Any { // oifname NAME
	return compare(op, &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, ifname(name))
}

func iifPrefix(op expr.CmpOp, prefix string) []expr.Any { // iifname "PREFIX*"
	return compare(op, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, []byte(prefix))
}

func etherType(op expr.CmpOp, proto uint16) []expr.Any { // meta protocol PROTO
	return compare(op, &expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, binary.BigEndian.AppendUint16(nil, proto))
}

func l4proto(proto byte) []expr.Any { // meta l4proto PROTO
	return compare(expr.CmpOpEq, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{proto})
}

// Where the fields lie in an IPv4 header (RFC 791), in an ARP packet for IPv4 over Ethernet (RFC 826), and in a TCP
// or UDP header.
const (
	offsetSource      = 12
	offsetDestination = 16
	offsetARPSender   = 14
	offsetPort        = 2
)

func load(base expr.PayloadBase, offset, length, register uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

func destination(a netip.Addr) []expr.Any { // ip daddr A
	return compare(expr.CmpOpEq, load(expr.PayloadBaseNetworkHeader, offsetDestination, 4, 1), a.AsSlice())
}

func within(offset uint32, p netip.Prefix) []expr.Any { // ip saddr P, ip daddr P
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-p.Bits()))
	return []expr.Any{
		load(expr.PayloadBaseNetworkHeader, offset, 4, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func destinationPort(port uint16) []expr.Any { // th dport PORT
	return compare(expr.CmpOpEq, load(expr.PayloadBaseTransportHeader, offsetPort, 2, 1),
		binary.BigEndian.AppendUint16(nil, port))
}

func destinationPortIn(s *nftables.Set) []expr.Any { // th dport @S
	return []expr.Any{load(expr.PayloadBaseTransportHeader, offsetPort, 2, 1), lookup(s)}
}

func destinationIn(s *nftables.Set) []expr.Any { // ip daddr @S
	return []expr.Any{load(expr.PayloadBaseNetworkHeader, offsetDestination, 4, 1), lookup(s)}
}

func destinationVerdict(s *nftables.Set) []expr.Any { // ip daddr vmap @S
	return []expr.Any{
		load(expr.PayloadBaseNetworkHeader, offsetDestination, 4, 1),
		&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID, IsDestRegSet: true},
	}
}

func addDestination(s *nftables.Set) []expr.Any { // add @S { ip daddr }
	return []expr.Any{
		load(expr.PayloadBaseNetworkHeader, offsetDestination, 4, 1),
		&expr.Dynset{SrcRegKey: 1, SetName: s.Name, SetID: s.ID, Operation: unix.NFT_DYNSET_OP_ADD},
	}
}

func redirectTo(a netip.AddrPort) []expr.Any { // dnat to A
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: a.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, a.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}
}

// sendToOneOf takes an anonymous map of the numbers below n to addresses.
func sendToOneOf(m *nftables.Set, n int) []expr.Any { // dnat to numgen random mod N map { … }
	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM},
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: m.Name, SetID: m.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}
}

func redirected() []expr.Any { // ct status dnat
	const ipsDstNAT = 1 << 5 // IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATUS},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, ipsDstNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// portAndAddress loads the interface's name and an address of the packet behind one another, for a set of both.
func portAndAddress(offset uint32) []expr.Any { // iifname . ip saddr
	const afterName = unix.NFT_REG32_00 + unix.IFNAMSIZ/4
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: unix.NFT_REG32_00},
		load(expr.PayloadBaseNetworkHeader, offset, 4, afterName),
	}
}

func in(s *nftables.Set) []expr.Any { // … @S
	return []expr.Any{&expr.Lookup{SourceRegister: unix.NFT_REG32_00, SetName: s.Name, SetID: s.ID}}
}

func verdictOf(s *nftables.Set) []expr.Any { // … vmap @S
	return []expr.Any{&expr.Lookup{
		SourceRegister: unix.NFT_REG32_00, SetName: s.Name, SetID: s.ID, IsDestRegSet: true,
	}}
}

func lookup(s *nftables.Set) *expr.Lookup {
	return &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID}
}

func established() []expr.Any { // ct state established,related
	bits := binary.NativeEndian.AppendUint32(nil, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: bits, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

func drop() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

func goTo(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}
}

// refuse answers with "port unreachable", which a connecting client sees at once as refused.
func refuse() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}}
}
