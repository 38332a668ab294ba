package store

import (
	"encoding/json"

	"github.com/ikada/ikada/api"
)

// Get gives the object at key; an error of kind NotFound when there is none.
func Get[T any](tx Tx, key string) (*T, error) {
	v, err := Find[T](tx, key)
	if err == nil && v == nil {
		return nil, api.Errorf(api.NotFound, "%s does not exist", Describe(key))
	}
	return v, err
}

// Find gives the object at key; nil when there is none.
func Find[T any](tx Tx, key string) (*T, error) {
	e, ok, err := tx.Get(key)
	if err != nil || !ok {
		return nil, err
	}
	return decode[T](e)
}

// List gives the objects under prefix, sorted by key. A prefix that names an environment must end in a slash
// ([ReleasesOf], [DeploymentsOf]), else it also finds those whose name goes on.
func List[T any](tx Tx, prefix string) ([]*T, error) {
	entries, err := tx.List(prefix)
	if err != nil {
		return nil, err
	}
	list := make([]*T, 0, len(entries))
	for _, e := range entries {
		v, err := decode[T](e)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// Put sets the object at key.
func Put(tx Tx, key string, v any) error {
	b, err := encode(key, v)
	if err == nil {
		tx.Put(key, b)
	}
	return err
}

// PutLeased sets an object that goes with the lease.
func PutLeased(tx Tx, key string, v any, lease int64) error {
	b, err := encode(key, v)
	if err == nil {
		tx.PutLeased(key, b, lease)
	}
	return err
}

func encode(key string, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, api.Errorf(api.Internal, "encode %s: %w", Describe(key), err)
	}
	return b, nil
}

func decode[T any](e Entry) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(e.Value, v); err != nil {
		return nil, api.Errorf(api.Internal, "decode %s: %w", Describe(e.Key), err)
	}
	return v, nil
}
