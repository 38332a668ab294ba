package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/ikada/ikada/api"
)

const (
	environmentsKey = "environments" // of the top-level x-ikada
	maxNodes        = 100_000        // of a document after its aliases are expanded, compose-go's own bound
)

// overrideKeys are what an environment may change: the parts of the model that Compose merges by its own rules, and the
// app's checks, which stand in x-ikada elsewhere.
var overrideKeys = []string{"services", "networks", "volumes", "secrets", "configs", checksKey}

// overrideRefusals say why an environment may not change the others.
var overrideRefusals = map[string]string{
	"name":       "environments belong to one app, whose name they share",
	"include":    "files are included for all environments",
	"version":    "it is obsolete",
	extensionKey: "environments do not nest; at a service, x-ikada may change",
}

// splitEnvironments takes x-ikada.environments out of a Compose file, and gives what it says of one environment as a
// file that is laid over all others. The rest is taken out before it is interpolated: variables that only another
// environment needs may be unset. A file without environments, or one that cannot be read, comes back as it is.
func splitEnvironments(file string, content []byte, env string) (base, override []byte, err error) {
	if !bytes.Contains(content, []byte(environmentsKey)) {
		return content, nil, nil
	}
	docs, ok := documents(content)
	if !ok {
		return content, nil, nil // compose-go says what is wrong with it
	}
	found := false
	var rest, over []*yaml.Node
	for _, doc := range docs {
		environments := at(at(doc, extensionKey), environmentsKey)
		if environments == nil {
			rest = append(rest, doc)
			continue
		}
		left := maxNodes
		if doc = expand(doc, &left); doc == nil {
			return nil, nil, api.FieldError(file, "", fmt.Sprintf("at most %d values after aliases are expanded", maxNodes))
		}
		found = true
		mine, err := chosen(at(at(doc, extensionKey), environmentsKey), env)
		if err != nil {
			return nil, nil, err
		}
		if mine != nil {
			over = append(over, mine)
		}
		drop(at(doc, extensionKey), environmentsKey)
		rest = append(rest, doc)
	}
	if !found {
		return content, nil, nil
	}
	if base, err = encode(rest); err != nil {
		return nil, nil, err
	}
	if len(over) > 0 {
		override, err = encode(over)
	}
	return base, override, err
}

// documents decodes every document of a file.
func documents(content []byte) ([]*yaml.Node, bool) {
	var docs []*yaml.Node
	for dec := yaml.NewDecoder(bytes.NewReader(content)); ; {
		doc := &yaml.Node{}
		if err := dec.Decode(doc); errors.Is(err, io.EOF) {
			return docs, true
		} else if err != nil {
			return nil, false
		}
		docs = append(docs, doc)
	}
}

func encode(docs []*yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	for i, doc := range docs {
		if i > 0 {
			b.WriteString("---\n")
		}
		text, err := yaml.Marshal(doc)
		if err != nil {
			return nil, api.Errorf(api.Internal, "encode Compose file: %w", err)
		}
		b.Write(text)
	}
	return b.Bytes(), nil
}

// at gives the value of a key in a mapping, through documents and aliases; nil when there is none.
func at(n *yaml.Node, key string) *yaml.Node {
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.DocumentNode && len(n.Content) == 1:
		return at(n.Content[0], key)
	case n.Kind == yaml.AliasNode:
		return at(n.Alias, key)
	case n.Kind != yaml.MappingNode:
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// drop takes a key out of a mapping.
func drop(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}

// expand gives a copy of a node without anchors and aliases, so that its parts stand for themselves; nil when it has
// more values than are left.
func expand(n *yaml.Node, left *int) *yaml.Node {
	if *left--; *left < 0 {
		return nil
	}
	if n.Kind == yaml.AliasNode {
		return expand(n.Alias, left)
	}
	c := *n
	c.Anchor, c.Content = "", make([]*yaml.Node, len(n.Content))
	for i, child := range n.Content {
		if c.Content[i] = expand(child, left); c.Content[i] == nil {
			return nil
		}
	}
	return &c
}

// chosen checks all environments and gives what is said of one; nil when nothing is.
func chosen(environments *yaml.Node, env string) (mine *yaml.Node, err error) {
	field := extensionKey + "." + environmentsKey
	if environments.Tag == "!!null" {
		return nil, nil
	}
	if environments.Kind != yaml.MappingNode {
		return nil, api.FieldError(field, "", "a mapping of environments")
	}
	for i := 0; i+1 < len(environments.Content); i += 2 {
		name, over := environments.Content[i].Value, environments.Content[i+1]
		at := field + "." + name
		if err := api.CheckEnvName(at, name); err != nil {
			return nil, err
		}
		if over.Tag == "!!null" {
			continue
		}
		if over.Kind != yaml.MappingNode {
			return nil, api.FieldError(at, "", "a mapping of "+strings.Join(overrideKeys, ", "))
		}
		for j := 0; j+1 < len(over.Content); j += 2 {
			key := over.Content[j].Value
			if slices.Contains(overrideKeys, key) {
				continue
			}
			why := "unknown key; expected one of " + strings.Join(overrideKeys, ", ")
			if known, ok := overrideRefusals[key]; ok {
				why = "it cannot differ between environments: " + known
			}
			return nil, &api.Error{Kind: api.Invalid, Field: at + "." + key, Message: why}
		}
		if name == env && len(over.Content) > 0 {
			mine = wrapChecks(over)
		}
	}
	return mine, nil
}

// wrapChecks puts the app's checks of an environment where they stand in a file.
func wrapChecks(over *yaml.Node) *yaml.Node {
	checks := at(over, checksKey)
	if checks == nil {
		return over
	}
	drop(over, checksKey)
	text := func(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }
	over.Content = append(over.Content, text(extensionKey),
		&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{text(checksKey), checks}})
	return over
}

// environmentFiles are the names of the file of an environment beside the Compose file, in the order of preference.
func environmentFiles(env string) []string {
	var names []string
	for _, name := range composeNames {
		stem, ext, _ := strings.Cut(name, ".")
		names = append(names, stem+"."+env+"."+ext)
	}
	return names
}
