# What an invoice comes to; see README.md.


def total(lines, tax):
    amount = sum(float(quantity) * float(price) for quantity, price in lines)
    return "%.2f" % (amount * (1 + float(tax) / 100))
