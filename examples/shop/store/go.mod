module shop/store

go 1.26
