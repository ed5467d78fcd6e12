#!/bin/sh
# Prices a book of options; each line is a price and its standard error.
set -eu
market='spot=100 rate=0.05 dividend_yield=0.01 volatility=0.25 maturity=1'
price() { # NAME MODEL key=value…
    name=$1 model=$2
    shift 2
    pairs=""
    for pair in $market "$@"; do pairs="$pairs params.$pair"; done
    # shellcheck disable=SC2086 # pairs are words
    id=$(forge submit monte_carlo "model=$model" $pairs samples=2e6 seed=42 \
        'outputs=["mean","stderr","hist"]' 'hist.edges=[0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30,32,34,36,38,40]' --name "$name" -o id)
    forge job wait "$id" > /dev/null
    forge job result "$id" -o json | sed -E "s/.*\"mean\":\{\"value\":([^,]*),.*\"stderr\":\{\"value\":([^,]*),.*/$(printf '%-28s' "$name") \1 ± \2/"
    last=$id
}
price "call, strike 100" european strike=100 option=call
price "put, strike 95" european strike=95 option=put
price "Asian call, monthly" asian strike=100 option=call steps=12 averaging=arithmetic
price "up-and-out call at 140" barrier strike=100 option=call steps=52 barrier=140 direction=up knock=out
forge job plot "$last" option_book.svg
