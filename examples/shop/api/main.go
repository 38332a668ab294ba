// Command api is the shop's back end: it lists products and takes orders, both kept in the store. As "api migrate" it
// fills the store and ends.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// storeWait bounds how long a call waits for a store that restarts.
const storeWait = 15 * time.Second

type product struct {
	Name  string `json:"name"`
	Price int    `json:"price"`
}

func main() {
	b, err := os.ReadFile("/run/secrets/store_password")
	if err != nil {
		log.Fatal(err)
	}
	s := store{password: strings.TrimSpace(string(b))}
	if slices.Contains(os.Args[1:], "migrate") {
		err = migrate(s)
	} else {
		err = serve(s)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// migrate writes the products of the configuration into the store. Running it again changes nothing.
func migrate(s store) error {
	b, err := os.ReadFile("/etc/shop/products.json")
	if err != nil {
		return err
	}
	var products []product
	if err := json.Unmarshal(b, &products); err != nil {
		return fmt.Errorf("read products: %w", err)
	}
	if _, err := s.call(context.Background(), http.MethodPut, "products", b); err != nil {
		return err
	}
	log.Printf("the store has %d products", len(products))
	return nil
}

func serve(s store) error {
	http.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("GET /products", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(s.call(r.Context(), http.MethodGet, "products", nil))
	})
	http.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		orders, err := s.call(r.Context(), http.MethodGet, "orders", nil)
		if errors.Is(err, errNone) {
			err = nil
		}
		answer(w)(orders, err)
	})
	http.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		name := r.FormValue("product")
		if err := s.has(r.Context(), name); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, err := s.call(r.Context(), http.MethodPost, "orders", []byte(name))
		answer(w)([]byte("ordered: "+name+"\n"), err)
	})
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		<-stop.Done()
		ended <- server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

func answer(w http.ResponseWriter) func([]byte, error) {
	return func(b []byte, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = w.Write(b)
	}
}

// store is the client of the store.
type store struct{ password string }

var errNone = errors.New("the store has no such key")

func (s store) has(ctx context.Context, name string) error {
	b, err := s.call(ctx, http.MethodGet, "products", nil)
	if err != nil {
		return err
	}
	var products []product
	if err := json.Unmarshal(b, &products); err != nil {
		return err
	}
	if !slices.ContainsFunc(products, func(p product) bool { return p.Name == name }) {
		return fmt.Errorf("there is no product %q", name)
	}
	return nil
}

// call asks the store. A new release of the store stops the old one first, so a refused connection is tried again.
func (s store) call(ctx context.Context, method, key string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	for {
		b, err := s.once(ctx, method, key, body)
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) && !strings.Contains(err.Error(), "no such host") {
			return b, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s store) once(ctx context.Context, method, key string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://store:8080/keys/"+key, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+s.password)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	switch response.StatusCode {
	case http.StatusOK:
		return b, nil
	case http.StatusNotFound:
		return nil, errNone
	}
	return nil, fmt.Errorf("the store says %s: %s", response.Status, bytes.TrimSpace(b))
}
