package compose

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"github.com/ikada/ikada/api"
)

// wording says in a user's words what a message of a parser means.
type wording struct {
	shape    *regexp.Regexp
	expected string // may refer to groups; "" keeps the message
}

// durationField is an attribute of the specification that is a duration.
var durationField = regexp.MustCompile(`\.(interval|timeout|start_period|start_interval|stop_grace_period|delay|monitor|window)$`)

func wordings() []wording {
	w := func(shape, expected string) wording { return wording{regexp.MustCompile(`(?s)` + shape), expected} }
	return []wording{
		w(`^false schema$`, ``),
		w(`ParseFloat`, `a number`),
		w(`Atoi|ParseInt|ParseUint`, `a whole number`),
		w(`invalid boolean`, `true or false`),
		w(`^time: |invalid duration|duration:|is not valid 'duration'|not valid duration`, `a duration such as 500ms, 10s or 1m30s`),
		w(`invalid size|invalid suffix`, `a size in bytes, or such as 512m or 1g`),
		w(`overflows uint`, `a number of 0 or more`),
		w(`^must be a list, got`, `a list`),
		w(`^must be a null$`, `a command, as a string or a list`),
		w(`^must be a integer or string$`, `a whole number`),
		w(`^unexpected type \[\]`, `plain values`),
		w(`^must be a (array)$`, `a list`),
		w(`^must be a (.+)$`, `a $1`),
		w(`^must be (greater|less) than or equal to (.+)$`, `a number that is $1 than or equal to $2`),
		w(`does not match pattern '\^\(always\|never`, `one of always, missing, never, build, refresh, daily, weekly, every_DURATION`),
		w(`does not match pattern (.+)$`, `text of the form $1`),
		w(`value must be one of (.+)$`, `one of $1`),
		w(`invalid additional host`, `NAME=ADDRESS`),
		w(`invalid command line string`, `a command whose quotes are closed`),
		w(`invalid containerPort|invalid hostPort|invalid ranges|[Ii]nvalid range|invalid IP address|invalid ip address|invalid proto|No port|invalid port|invalid containerPort`,
			`[ADDRESS:][PORT:]PORT such as "8080:80" or "127.0.0.1:8080-8081:80-81"`),
		w(`missing a mount target`, `an absolute path as target`),
		w(`must start either by`, `a list that begins with CMD, CMD-SHELL or NONE`),
	}
}

// located makes the error of a field: in plain words, with the value that the user wrote.
func located(field, message string, o Options) error {
	trees := rawTrees(o.Files)
	field, raw := place(o.within(field, trees), message, trees)
	e := &api.Error{Kind: api.Invalid, Field: field, Message: message}
	if !strings.Contains(field, "environment") && !strings.Contains(field, "basic_auth") && !strings.HasPrefix(field, "secrets.") { // may be secret
		e.Value = scalar(raw)
	}
	for _, w := range wordings() {
		at := w.shape.FindStringSubmatchIndex(message)
		if at == nil {
			continue
		}
		if w.expected == "" {
			e.Message = "unknown attribute"
			break
		}
		if strings.HasSuffix(field, ".oom_score_adj") { // the schema names the other type of the two
			w.expected = `a number from -1000 to 1000`
		}
		if durationField.MatchString(field) { // the schema asks for a string
			w.expected = `a duration such as 500ms, 10s or 1m30s`
		}
		e.Message, e.Expected = "", string(w.shape.ExpandString(nil, w.expected, message, at))
		break
	}
	e.Message += hint(strings.TrimPrefix(field, extensionKey+"."+environmentsKey+"."+o.Env+"."), e.Message)
	return e
}

// within names a field where it stands: in what the files say of the environment, when it stands there alone.
func (o Options) within(field string, trees []any) string {
	own := extensionKey + "." + environmentsKey + "." + o.Env + "." + field
	there := func(name string) bool {
		return slices.ContainsFunc(trees, func(tree any) bool { _, ok := lookup(tree, name); return ok })
	}
	if field != "" && !there(field) && there(own) {
		return own
	}
	return field
}

// rawTrees decodes the files as they are; those that cannot be decoded are left out.
func rawTrees(files []string) []any {
	var out []any
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil || len(content) > MaxFileBytes {
			continue
		}
		var tree any
		if yaml.Unmarshal(content, &tree) == nil {
			out = append(out, tree)
		}
	}
	return out
}

// place completes a field that compose-go names without its service, and finds its value.
func place(field, message string, trees []any) (string, any) {
	for _, tree := range trees {
		// compose-go writes [] for the element of a list; it is known when there is but one.
		if list, rest, ok := strings.Cut(field, "[]"); ok {
			if v, ok := lookup(tree, list); ok {
				if elements, _ := v.([]any); len(elements) == 1 {
					field = list + "[0]" + rest
				}
			}
		}
		switch field {
		case "ports":
			if f, v, ok := search(tree, "ports", badPort); ok {
				return f, v
			}
		case "healthcheck.test":
			if f, _, ok := search(tree, "healthcheck", badTest); ok {
				return f + ".test", nil
			}
		case "include":
			name, _, _ := strings.Cut(message, ":")
			if f, v, ok := search(tree, "extends", func(v any) bool { return mentions(v, name) }); ok {
				return f + ".file", v
			}
		case "env_file":
			name, _, _ := strings.Cut(message, ":")
			if f, v, ok := search(tree, "env_file", func(v any) bool { return mentions(v, name) }); ok {
				return f, v
			}
		default:
			if v, ok := lookup(tree, field); ok {
				return field, v
			}
		}
	}
	return field, nil
}

// search gives the first value of an attribute of any service, or element of it when it is a list, that matches.
func search(tree any, attribute string, match func(any) bool) (string, any, bool) {
	root, _ := tree.(map[string]any)
	services, _ := root["services"].(map[string]any)
	names := make([]string, 0, len(services))
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s, _ := services[name].(map[string]any)
		field := "services." + name + "." + attribute
		switch v := s[attribute].(type) {
		case nil:
		case []any:
			for i, e := range v {
				if match(e) {
					return field + "[" + strconv.Itoa(i) + "]", e, true
				}
			}
		default:
			if match(v) {
				return field, v, true
			}
		}
	}
	return "", nil, false
}

func badPort(v any) bool {
	text, ok := v.(string)
	if n, isInt := v.(int); isInt {
		text, ok = strconv.Itoa(n), true
	}
	if !ok {
		m, isMap := v.(map[string]any)
		return !isMap || m["host_ip"] != nil && m["target"] == nil
	}
	_, err := types.ParsePortConfig(text)
	return err != nil
}

func badTest(v any) bool {
	m, _ := v.(map[string]any)
	list, _ := m["test"].([]any)
	return len(list) > 0 && list[0] != "CMD" && list[0] != "CMD-SHELL" && list[0] != "NONE"
}

func mentions(v any, name string) bool {
	if m, ok := v.(map[string]any); ok {
		if v = m["path"]; v == nil {
			v = m["file"]
		}
	}
	text, _ := v.(string)
	return text != "" && strings.HasSuffix(name, strings.TrimPrefix(text, "./"))
}

// lookup follows a field's path through a tree. Keys that hold dots are found as long as one reading fits.
func lookup(tree any, field string) (any, bool) {
	if field == "" {
		return tree, true
	}
	switch v := tree.(type) {
	case map[string]any:
		for key, e := range v {
			rest, ok := strings.CutPrefix(field, key)
			if !ok || rest != "" && rest[0] != '.' && rest[0] != '[' {
				continue
			}
			if found, ok := lookup(e, strings.TrimPrefix(rest, ".")); ok {
				return found, true
			}
		}
	case []any:
		if inner, rest, ok := strings.Cut(strings.TrimPrefix(field, "["), "]"); ok && field[0] == '[' {
			if i, err := strconv.Atoi(inner); err == nil && i < len(v) {
				return lookup(v[i], strings.TrimPrefix(rest, "."))
			}
		}
	}
	return nil, false
}
