package place

import (
	"strings"

	"github.com/ikada/ikada/api"
)

// rule is a placement constraint in Swarm's notation: "node.labels.disk == ssd", "node.hostname != db1".
type rule struct {
	text, attr, value string
	negate            bool
}

func parseConstraint(text string) (rule, error) {
	for _, op := range []string{"!=", "=="} {
		attr, value, ok := strings.Cut(text, op)
		if !ok {
			continue
		}
		k := rule{text: text, attr: strings.TrimSpace(attr), value: strings.TrimSpace(value), negate: op == "!="}
		if !api.PlacementAttribute(k.attr) || k.value == "" {
			break
		}
		return k, nil
	}
	return rule{}, api.FieldError("placement.constraints", text, api.ConstraintRule)
}

func (k rule) match(n Node) bool { return strings.EqualFold(attribute(n, k.attr), k.value) != k.negate }

// attribute gives a node's value of an attribute, "" when it has none.
func attribute(n Node, attr string) string {
	switch attr {
	case "node.hostname":
		return n.Hostname
	case "node.name", "node.id":
		return n.Name
	case "node.platform.arch":
		return n.Arch
	case "node.platform.os":
		return n.OS
	}
	return n.Labels[strings.TrimPrefix(attr, "node.labels.")]
}
