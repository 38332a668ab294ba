package api

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestEqualSeesEveryField fails for a field that was added to a type and not to its comparison.
func TestEqualSeesEveryField(t *testing.T) {
	seesEveryField(t, (*Pool).Equal)
	seesEveryField(t, (*Route).Equal)
	seesEveryField(t, (*RoutePolicy).Equal)
	seesEveryField(t, (*Inside).Equal)
	seesEveryField(t, func(a, b *RouteTable) bool { return a.Alike(b) && a.Version == b.Version })
}

func seesEveryField[T any](t *testing.T, equal func(a, b *T) bool) {
	t.Helper()
	var full T
	fill(reflect.ValueOf(&full).Elem())
	text, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	again := func() *T {
		v := new(T)
		if err := json.Unmarshal(text, v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if !equal(&full, again()) {
		t.Errorf("%T: a copy is not equal", full)
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if f.Anonymous {
			continue
		}
		other := again()
		reflect.ValueOf(other).Elem().FieldByIndex(f.Index).SetZero()
		if equal(&full, other) || equal(other, &full) {
			t.Errorf("%T without %s is equal", full, f.Name)
		}
	}
}

// fill makes every field something else than zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
	case reflect.Map:
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(elem)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, elem)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	default:
		v.SetInt(7)
	}
}
