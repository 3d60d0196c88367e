module github.com/ratify-provider/ratify/bench

go 1.26.0

require github.com/ratify-provider/ratify v0.0.0

replace github.com/ratify-provider/ratify => ../
