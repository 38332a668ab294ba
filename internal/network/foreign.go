package network

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// foreignChain is a chain of someone else that drops by default what tasks need.
type foreignChain struct {
	*nftables.Chain
	iptables bool // one of iptables-nft's: a rule may be put at its head, as Docker and libvirt do
}

// openForeign sees to it that others' chains with a policy of drop let this instance's packets by, which no rule in
// a table of our own can do: in iptables' filter table it puts accept rules for the bridge at the head of FORWARD
// and INPUT (our own tables have judged these packets already). It gives a sentence for each hindrance that it must
// leave to the administrator.
func (f *firewall) openForeign() (problems []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	chains, err := droppingChains(f.conn, f.ipTable.Name)
	if err != nil {
		return []string{fmt.Sprintf("The node's other firewall rules cannot be read: %v.", err)}
	}
	for _, c := range chains {
		if c.iptables {
			if err := f.openChain(c.Chain); err == nil {
				continue
			}
		}
		problems = append(problems, fmt.Sprintf(
			"Chain %s of table %s drops what no rule of it accepts, and so traffic of tasks: accept the interface %s there (nft insert rule %s %s %s iifname %s accept).",
			c.Name, c.Table.Name, f.bridge, family(c.Table.Family), c.Table.Name, c.Name, f.bridge))
	}
	if b, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && bytes.Contains(b, []byte("filter")) {
		problems = append(problems, fmt.Sprintf(
			"Old iptables rules (iptables-legacy) are in force and cannot be read: if its FORWARD or INPUT chain drops, run iptables-legacy -I FORWARD -i %[1]s -j ACCEPT, the same with -o, and -I INPUT -i %[1]s -j ACCEPT.",
			f.bridge))
	}
	return problems
}

// droppingChains gives the base chains of others on the hooks forward and input of IPv4 that drop by default.
func droppingChains(conn *nftables.Conn, own string) ([]foreignChain, error) {
	all, err := conn.ListChains()
	if err != nil {
		return nil, err
	}
	var found []foreignChain
	for _, c := range all {
		ipv4 := c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyINet
		if !ipv4 || c.Table.Name == own || c.Hooknum == nil || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if *c.Hooknum != *nftables.ChainHookForward && *c.Hooknum != *nftables.ChainHookInput {
			continue
		}
		found = append(found, foreignChain{Chain: c, iptables: iptablesChain(c)})
	}
	return found, nil
}

func iptablesChain(c *nftables.Chain) bool {
	return c.Table.Family == nftables.TableFamilyIPv4 && c.Table.Name == "filter" &&
		(c.Name == "FORWARD" || c.Name == "INPUT")
}

// openChain puts accept rules for the bridge at a chain's head unless they are there.
func (f *firewall) openChain(c *nftables.Chain) error {
	have, err := ownRules(f.conn, c, f.bridge)
	if err != nil || len(have) > 0 {
		return err
	}
	words := [][]expr.Any{iif(expr.CmpOpEq, f.bridge)}
	if *c.Hooknum == *nftables.ChainHookForward {
		words = append(words, oif(expr.CmpOpEq, f.bridge))
	}
	for _, w := range words {
		f.conn.InsertRule(&nftables.Rule{
			Table: c.Table, Chain: c, UserData: ruleMark(f.bridge),
			Exprs: rule(w, []expr.Any{&expr.Counter{}}, accept()), // iptables expects a counter in each rule
		})
	}
	return f.flush()
}

// closeForeign takes back what openForeign put into others' chains.
func closeForeign(conn *nftables.Conn, bridge string) error {
	all, err := conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	var errs []error
	for _, c := range all {
		if !iptablesChain(c) {
			continue
		}
		rules, err := ownRules(conn, c, bridge)
		errs = append(errs, err)
		for _, r := range rules {
			errs = append(errs, conn.DelRule(r))
		}
	}
	errs = append(errs, conn.Flush())
	return errors.Join(errs...)
}

// ownRules gives the rules of a chain that bear our mark.
func ownRules(conn *nftables.Conn, c *nftables.Chain, bridge string) ([]*nftables.Rule, error) {
	rules, err := conn.GetRules(c.Table, c)
	if err != nil {
		return nil, fmt.Errorf("list rules of %s: %w", c.Name, err)
	}
	return slices.DeleteFunc(rules, func(r *nftables.Rule) bool {
		text, ok := userdata.GetString(r.UserData, userdata.TypeComment)
		return !ok || strings.TrimRight(text, "\x00") != "ikada "+bridge
	}), nil
}

func ruleMark(bridge string) []byte {
	return userdata.AppendString(nil, userdata.TypeComment, "ikada "+bridge)
}

func family(f nftables.TableFamily) string {
	if f == nftables.TableFamilyINet {
		return "inet"
	}
	return "ip"
}
