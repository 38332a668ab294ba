package compose

import (
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
)

// pattern is a shape of compose-go's messages; groups named field (a path), service, kind, name and rest make the
// error's field and message.
type pattern struct {
	shape *regexp.Regexp
	field string // template for the field
	text  string // template for the message
}

// patterns are tried in turn. compose-go has no error types for these.
func patterns() []pattern {
	p := func(shape, field, text string) pattern {
		return pattern{regexp.MustCompile(`(?s)^` + shape + `$`), field, text}
	}
	return []pattern{
		p(`validating (?P<file>.+?\.\w+): (?P<field>\S*) ?additional properties (?P<name>'[^']+'(?:, '[^']+')*) not allowed`, `$field.$name`, `unknown attribute`),
		p(`validating .+?\.\w+: (?P<field>\S+) (?P<rest>.+)`, `$field`, `$rest`),
		p(`validating .+?\.\w+:  ?(?P<rest>.+)`, `file`, `$rest`),
		p(`invalid interpolation format for (?P<field>\S+)\.\n.+`, `$field`, `invalid interpolation; expected $${NAME} or $${NAME:-default}, and $$$$ for a plain $$`),
		p(`error while interpolating (?P<field>\S+): (?P<rest>.+)`, `$field`, `$rest`),
		p(`failed to parse .+?: (?:yaml: )?construct errors:\n  line \d+: (?:yaml: )?(?P<rest>[^\n]+).*`, `file`, `$rest`),
		p(`failed to parse .+?: (?:yaml: )?(?P<rest>.+)`, `file`, `$rest`),
		p(`yaml: (?P<rest>.+)`, `file`, `$rest`),
		p(`service "(?P<service>[^"]+)" refers to undefined (?P<kind>\w+) (?P<name>\S+): invalid compose project`, `services.$service.${kind}s`, `"$name" is not declared; expected a name under the file's ${kind}s`),
		p(`service "(?P<service>[^"]+)" refers to undefined build secret (?P<name>\S+): .+`, `services.$service.build.secrets`, `"$name" is not declared; expected a name under the file's secrets`),
		p(`service "(?P<service>[^"]+)" depends on undefined service "?(?P<name>[^":]+)"?.*`, `services.$service.depends_on`, `"$name" is not declared, or its profile is not active; expected a service of the file`),
		p(`services\.(?:deploy\.replicas|scale): can't set container_name and (?P<service>\S+) as container name must be unique.*`, `services.$service.container_name`, `names one task, and there are several; expected it without replicas, or none: tasks are named SERVICE.SLOT`),
		p(`service "(?P<service>[^"]+)" has neither an image nor a build context specified.*`, `services.$service`, `has neither image nor build; expected one of them`),
		p(`service volume (?P<field>services\S+) is (?P<rest>.+)`, `$field`, `$rest`),
		p(`service "?(?P<service>[^" ]+)"? (?P<rest>.+?)(?:: invalid compose project)?`, `services.$service`, `$rest`),
		p(`secret "(?P<name>[^"]+)" (?P<rest>.+?)(?:: invalid compose project)?`, `secrets.$name`, `$rest`),
		p(`cannot extend service "(?P<service>[^"]+)" in (?P<rest>.+)`, `services.$service.extends`, `$rest`),
		p(`extends\.(?P<service>\S+)\.service is required`, `services.$service.extends.service`, `is required`),
		p(`open (?P<name>.+): no such file or directory`, `include`, `$name: no such file`),
		p(`include cycle detected:(?P<rest>.+)`, `include`, `cycle: $rest`),
		p("`include` (?P<rest>.+)", `include`, `$rest`),
		p(`decoding failed due to the following error\(s\):\n\n(?:'(?P<field>[^']*)'|'?error decoding '(?P<name>[^']*)':) ?(?P<rest>.+)`, `$field$name`, `$rest`),
		p(`healthcheck\.test (?P<rest>.+)`, `healthcheck.test`, `$rest`),
		p(`(?:couldn't find env file|env file) "?(?P<name>[^" ]+)"?(?P<rest>.*)`, `env_file`, `$name: not found`),
		p(`(?P<field>(?:services|networks|volumes|configs|secrets|name|include)(?:\.[^\s:]+)?):? (?P<rest>.+?)(?:: invalid compose project)?`, `$field`, `$rest`),
		p(`(?:invalid (?:containerPort|hostPort|IP address|proto|port|ip address|range format)|No port|Invalid range|invalid ranges|(?:no|No) port).*`, `ports`, ``),
		p(`top-level object must be a mapping`, `file`, `expected a mapping with the key services`),
		p(`empty compose file`, `file`, `is empty; expected the key services`),
	}
}

// explain turns an error of compose-go into one that names a field. The words of compose-go stay where no better are
// known.
func explain(err error, o Options) error {
	if _, known := errors.AsType[*api.Error](err); known {
		return err
	}
	text, _, _ := strings.Cut(err.Error(), "\nerror while interpolating") // several: the first is enough
	text = plain(text, o.Dir)
	if err := circular(text); err != nil {
		return err
	}
	file := filepath.Base(o.Files[len(o.Files)-1])
	for _, p := range patterns() {
		at := p.shape.FindStringSubmatchIndex(text)
		if at == nil {
			continue
		}
		field := dotted(string(p.shape.ExpandString(nil, p.field, text, at)))
		message := string(p.shape.ExpandString(nil, p.text, text, at))
		if field == "file" || field == "" {
			field = file
		}
		if message == "" {
			message = text
		}
		return located(field, strings.TrimSpace(message), o)
	}
	return &api.Error{Kind: api.Invalid, Field: file, Message: text}
}

var extendsShape = regexp.MustCompile(`(?:^|extends )(\S+) in `)

// circular makes the error of a cycle. compose-go begins it anywhere; here the first name by the alphabet leads, so
// that the same file always brings the same sentence.
func circular(text string) error {
	attribute, names := "", []string(nil)
	if rest, ok := strings.CutPrefix(text, "Circular reference:"); ok {
		attribute = "extends"
		for line := range strings.Lines(strings.TrimSpace(rest)) {
			if m := extendsShape.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				names = append(names, m[1])
			}
		}
	} else if rest, ok := strings.CutPrefix(text, "dependency cycle detected: "); ok {
		attribute, names = "depends_on", strings.Split(rest, " -> ")
	}
	if len(names) < 2 {
		return nil
	}
	if at := slices.Index(names, names[len(names)-1]); at >= 0 {
		names = names[at : len(names)-1] // what leads into the cycle is no part of it
	}
	first := slices.Index(names, slices.Min(names))
	names = slices.Concat(names[first:], names[:first], names[first:first+1])
	return api.FieldError("services."+names[0]+"."+attribute, strings.Join(names, " → "), "no cycle")
}

// hint names the attribute that a misspelt one may have meant.
func hint(field, message string) string {
	if strings.Count(field, ".") == 1 && message == "unknown attribute" {
		return "; expected a name of letters, digits, '-' and '_'" // of a service, network, ...
	}
	if !strings.HasPrefix(message, "unknown attribute") {
		return ""
	}
	parent, name := "", field
	if at := strings.LastIndexByte(field, '.'); at >= 0 {
		parent, name = field[:at], field[at+1:]
	}
	parts := strings.Split(parent, ".")
	if len(parts) >= 2 {
		parts[1] = "*"
	}
	pattern := strings.TrimPrefix(strings.Join(append(parts, ""), "."), ".")
	best, least := "", 3
	for rule := range attributeRules() {
		if rest, ok := strings.CutPrefix(rule, pattern); ok && !strings.ContainsAny(rest, ".*") {
			if d := distance(name, rest); d < least || d == least && rest < best {
				best, least = rest, d
			}
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

var (
	indexShape  = regexp.MustCompile(`\.(\d+|\[\d*\])(\.|$)`)
	decodeShape = regexp.MustCompile(`\[([A-Za-z_][^\]]*)\]`)
)

// dotted writes compose-go's ways of naming a field in one: services.web.ports[0].target.
func dotted(field string) string {
	field = strings.TrimSuffix(strings.Trim(strings.ReplaceAll(field, "'", ""), ". "), ":")
	field = decodeShape.ReplaceAllString(field, ".$1")
	for indexShape.MatchString(field) {
		field = indexShape.ReplaceAllStringFunc(field, func(s string) string {
			n := strings.Trim(s, ".[]")
			if strings.HasSuffix(s, ".") {
				return "[" + n + "]."
			}
			return "[" + n + "]"
		})
	}
	return strings.TrimPrefix(field, ".")
}

// plain shortens absolute paths below the project's directory.
func plain(text, dir string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, dir+string(filepath.Separator), ""), dir, ".")
}
