package compose

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// TestEveryAttributeHasAVerdict walks compose-go's types: each attribute must stand in the table, or below one that is
// refused or warned of as a whole. A new compose-go with a new attribute fails here until somebody decides.
func TestEveryAttributeHasAVerdict(t *testing.T) {
	rules := attributeRules()
	seen := map[string]bool{}
	var visit func(typ reflect.Type, pattern string)
	attribute := func(f reflect.StructField, pattern string) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" {
			name, _, _ = strings.Cut(f.Tag.Get("path"), ",") // compose-go's slip at SSHKey.Path
		}
		if name == "-" || strings.HasPrefix(name, "#") {
			return
		}
		at := join(pattern, name)
		seen[at] = true
		r, ok := rules[at]
		if !ok {
			t.Errorf("no verdict on %s", at)
			return
		}
		if r.verdict == honoured {
			visit(f.Type, at)
		} else if r.why == "" {
			t.Errorf("%s is not honoured and has no reason", at)
		}
	}
	visit = func(typ reflect.Type, pattern string) {
		switch typ.Kind() {
		case reflect.Pointer:
			visit(typ.Elem(), pattern)
		case reflect.Map, reflect.Slice:
			elem := typ.Elem()
			for elem.Kind() == reflect.Pointer {
				elem = elem.Elem()
			}
			if elem.Kind() != reflect.Struct {
				return // the user's own keys or plain values
			}
			at := join(pattern, "*")
			if _, ok := rules[at]; !ok {
				t.Errorf("no verdict on %s", at)
			}
			seen[at] = true
			visit(elem, at)
		case reflect.Struct:
			for f := range typ.Fields() {
				if f.Anonymous {
					visit(f.Type, pattern)
				} else if f.IsExported() {
					attribute(f, pattern)
				}
			}
		}
	}
	visit(reflect.TypeFor[types.Project](), "")
	for pattern := range rules {
		if !seen[pattern] && !slices.Contains([]string{"services.*.extends.file", "services.*.extends.service"}, pattern) {
			t.Errorf("the table knows %s, compose-go does not", pattern)
		}
	}
	for api, file := range fieldNames {
		first, _, _ := strings.Cut(file, ".")
		if _, ok := rules["services.*."+first]; !ok && first != extensionKey {
			t.Errorf("%s is renamed to %s, which is no attribute", api, file)
		}
	}
}
