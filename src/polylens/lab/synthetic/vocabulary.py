"""English words of business pages: what is measured, what is sold, what a form asks for.

The lists were written for this project. Words are split by their own hash, as in the lexicon. Other languages have no
such lists; their pages have names from CLDR instead.
"""

from __future__ import annotations

import functools

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.lexicon import is_held_out

# fmt: off
MEASURES = tuple("""
accidents admissions agriculture anchorage arrivals attendance bandwidth bookings births budget capacity cargo catches
catering cement charges circulation claims commerce commissions commuters complaints consumption contracts costs
crops dairy damages debt deficit deliveries demand deposits depth donations donors downloads drought
earnings education electricity elevation emissions employment energy enrolment exports fares farmland fatalities fees
fertiliser fisheries flights flooding forestry freight fuel funding gas grain grants groundwater growth harvest
healthcare heating hospitals hotels households housing humidity immigration imports income inflation infections
inspections insurance interest internet investment irrigation jobs journeys kilowatts labour landings leases lending
libraries literacy livestock loans logistics losses luggage machinery mail maintenance manufacturing margins
membership migration mileage mining mortality mortgages newspapers noise nurses occupancy oil orders output overtime
pageviews parcels passengers patents patients payments payroll pensions permits plastics pollution population postage
poultry precipitation premiums prices production productivity profit publications pupils quotas railways rainfall
readership receipts recycling refugees registrations rents repairs reserves reservoirs retail returns revenue rice
rivers roads royalties salaries sales salinity savings schools seawater sewage shipments shipping shortages sickness
snowfall spending staffing steel storage storms strikes students subscribers subsidies sunshine supplies surgeries
surplus taxation teachers telephony temperature textiles theft tickets timber tonnage tourism traffic trade training
transport turnover unemployment utilities vaccinations vacancies vehicles visitors volunteers voters wages warehousing
waste water wheat wildlife windspeed withdrawals workforce yields
""".split())
"""What a table or a chart may be about."""

GOODS = tuple("""
adhesive almonds anchor apples apricots armchair asparagus aubergine axe backpack bacon bagels balcony balloons bananas
bandages barometer baskets batteries beans bearings bedding bench bicycle binoculars biscuits blankets blender boiler
bolts bookshelf boots bottles bowls bracket bread bricks brooms brushes bucket buckwheat bulbs butter buttons cabbage
cabinet cables cakes calculator camera candles canvas cardboard carpet carrots celery ceramics chainsaw chairs charcoal
cheese cherries chestnuts chisel chocolate cinnamon clamps clocks coats cocoa coconuts coffee compass concrete cookies
corks cotton couch crackers crane cranberries crayons croissants cucumbers cups curtains cushions dates desk detergent
diesel dishwasher doors drill dumplings earphones eggs engine envelopes eraser espresso fan fence figs filters flour
flowers flute folders forks freezer fridge fryer funnel garlic gasket gauge generator ginger glasses gloves glue gravel
grapes grinder guitar hammer hammock handles harness hats hazelnuts headlamp helmet herbs hinges honey hooks hose ink
insulation jackets jars jeans juice kayak kettle keyboard kiwis knives lacquer ladder lamps lantern leather leeks
lemonade lemons lentils lettuce lids lock lumber magnets mangoes maps marbles marmalade mattress melons microphone
microscope milk mirror monitor mortar mugs mushrooms mustard nails napkins needles nets noodles notebooks nuts oars
oatmeal olives onions oranges oven paddles paint pancakes paper paprika parsley pasta peaches peanuts pears peas pencils
pepper pillows pineapple pipes pizza plates pliers plums plywood porcelain potatoes printer projector propeller pulley
pump pumpkin quilts radiator radio radishes raincoat raisins rakes raspberries razors ribbon rope rubber rugs saddle
salad salmon salt sandals sandwiches saucepan sausages saw scarves scissors screws shampoo shelves shirts shoes shovel
skirts slippers soap socks sofa soup spades spanner speakers spices spinach sponges spoons stamps stapler steak stools
stove strawberries sugar suitcase sunscreen sweaters switches syrup tablecloth tape tarpaulin tea telescope tents
thermometer thread tiles toaster tomatoes toothpaste torch towels tractor trousers trowel tuna turbine turnips tyres
umbrella valves vanilla varnish vases vinegar waffles walnuts washers watches watermelon wheelbarrow wheels whistle
windows wine wire wool wrench yarn yoghurt zippers zucchini
""".split())
"""What an invoice or a receipt may list."""

FIELDS = tuple("""
address affiliation age allergies allowance applicant appointment apartment attachments beneficiary birthplace borough
branch building caller carrier citizenship city class colleague commencement comments company condition
consent contact county country course custodian customer deadline degree delegate department destination diagnosis
disability district donor driver duration email employee employer endorsement entry event examiner expiry
extension faculty father fax firm floor forename gender grade guardian hometown household identity
incident initials institution instructor insurer keeper landlord language licence locality location manager membership
mobile mother municipality nationality nickname notes nurse occupation office operator organisation origin owner
parish passport payer permit phone physician place plot position postcode prefecture profession program province
purpose qualification rank reason recipient referee region registration relationship remarks representative
residence room salutation school seat section sector sender shift signature spouse state status street student
subject supervisor surname symptoms teacher telephone tenant title town trainer trustee tutor unit university vehicle
vendor village visa visitor voucher ward warden weight witness workplace zone
""".split())
"""The labels of a form."""

ROLES: dict[str, tuple[str, ...]] = {
    "invoice": tuple("invoice bill statement demand account tally voucher debit billing docket".split()),
    "receipt": tuple("receipt ticket slip counterfoil stub proof chit voucher docket bon".split()),
    "total": tuple(
        "total sum amount due payable balance aggregate payment gross final full settlement remittance tally".split()
    ),
    "quantity": tuple("quantity qty pieces count units number pcs volume packs items".split()),
    "price": tuple("price rate cost unit tariff charge fee value net amount apiece pricing quote fare worth".split()),
    "tax": tuple("tax VAT levy duty surcharge excise GST impost taxation".split()),
    "customer": tuple("customer client buyer purchaser recipient payer consignee receiver debtor addressee".split()),
    "form": tuple("form application request questionnaire registration declaration enquiry enrolment petition".split()),
}
"""Role of a printed word -> the words for it."""
# fmt: on


@functools.cache
def of_split(words: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """The words of a list that belong to a split.

    Example:
        >>> set(of_split(GOODS, "train")) & set(of_split(GOODS, "held_out"))
        set()
    """
    return tuple(word for word in words if is_held_out(word) == (split == "held_out"))
